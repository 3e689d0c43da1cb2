package usage

import "testing"

// A model that may serve in place of the one that is asked for makes it one that can't be told, wherever it stands.
func TestAFallbackIsAnotherModel(t *testing.T) {
	for _, test := range []struct {
		body string
		want Unread
	}{
		{`{"model":"a","models":["b"]}`, Ambiguous},
		{`{"models":["a","b"],"model":"a"}`, Ambiguous},
		{`{"models":["b","a"],"model":"a"}`, Ambiguous},
		{`{"model":"a","Models":["b"]}`, Ambiguous},
		{`{"model":"a","models":"b"}`, Ambiguous},
		{`{"models":["a"]}`, Ambiguous},
		{`{"fallbacks":["b"],"model":"a"}`, Ambiguous},
		{`{"model":"a","fallbacks":[{"model":"b"}]}`, Ambiguous},
		{`{"model":"a","fallbacks":[{"a":["b"]}]}`, Ambiguous},
		{`{"model":"a","fallbacks":{"model":"b"}}`, Ambiguous},
		{`{"model":"a","fallback_models":["b"]}`, Ambiguous},
		{`{"model":"a","context_window_fallbacks":["b"]}`, Ambiguous},
		{`{"model":"a,b"}`, Ambiguous}, // LiteLLM asks all of them
		{`{"model":"a","models":["a"],"fallbacks":["a"]}`, ""},
		{`{"model":"a","models":[],"fallbacks":null}`, ""},
		{`{"model":"a","metadata":{"models":["b"]}}`, ""},
	} {
		for _, dialect := range []*Dialect{chat, completions, embeddings, responses, images, messages} {
			for how, lengths := range cuts {
				if got := readRequest(dialect, []byte(test.body), lengths); got.Unread != test.want {
					t.Errorf("%s, %s, %s: %q, want %q", test.body, dialect.Name, how, got.Unread, test.want)
				}
			}
		}
	}
}
