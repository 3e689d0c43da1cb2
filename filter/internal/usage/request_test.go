package usage

import (
	"strings"
	"testing"
)

func TestRequestSaysWhatItAsksFor(t *testing.T) {
	const read = true
	long := strings.Repeat("m", 300)
	tests := []struct {
		name    string
		dialect *Dialect
		body    string
		want    Request
	}{
		{"the model comes first", chat, `{"model":"a","messages":[{"role":"user","content":"hi"}]}`, Request{Read: read, Model: "a"}},
		{"the model comes last", chat, `{"messages":[{"content":"\"model\":\"no\""}],"model":"a"}`, Request{Read: read, Model: "a"}},
		{"a model deeper down is not the model", chat, `{"metadata":{"model":"b","max_tokens":9},"tools":[{"model":"c"}]}`, Request{Read: read}},
		{"a long model is cut", chat, `{"model":"` + long + `"}`, Request{Read: read, Model: long[:256]}},
		{"an escaped model is read", chat, `{"model":"a\u002fb\""}`, Request{Read: read, Model: `a/b"`}},
		{"no model", chat, `{}`, Request{Read: read}},
		{"a null model", chat, `{"model":null}`, Request{Read: read}},
		{"it streams", chat, `{"model":"a","stream":true}`, Request{Read: read, Model: "a", Stream: true}},
		{"it does not stream", chat, `{"stream":false}`, Request{Read: read}},
		{"only true streams", chat, `{"stream":"true"}`, Request{Read: read}},
		{"max_tokens bounds", chat, `{"max_tokens":100}`, Request{Read: read, OutputBound: 100}},
		{"max_completion_tokens bounds", chat, `{"max_completion_tokens":100}`, Request{Read: read, OutputBound: 100}},
		{"of two bounds the larger counts", chat, `{"max_tokens":50,"max_completion_tokens":100}`, Request{Read: read, OutputBound: 100}},
		{"in either order", chat, `{"max_completion_tokens":50,"max_tokens":100}`, Request{Read: read, OutputBound: 100}},
		{"a null bound is none", chat, `{"max_tokens":null,"max_completion_tokens":7}`, Request{Read: read, OutputBound: 7}},
		{"a bound of zero is none", chat, `{"max_tokens":0}`, Request{Read: read}},
		{"a negative bound is none", chat, `{"max_tokens":-5}`, Request{Read: read}},
		{"a fraction is rounded up", chat, `{"max_tokens":1.5}`, Request{Read: read, OutputBound: 2}},
		{"a whole number may be written with a point", chat, `{"max_tokens":12.0}`, Request{Read: read, OutputBound: 12}},
		{"a bound as text is one", chat, `{"max_tokens":"100"}`, Request{Read: read, OutputBound: 100}},
		{"each choice may use the bound", chat, `{"n":3,"max_tokens":100}`, Request{Read: read, OutputBound: 300}},
		{"no choices count as one", chat, `{"max_tokens":100,"n":0}`, Request{Read: read, OutputBound: 100}},
		{"null choices count as one", chat, `{"max_tokens":100,"n":null}`, Request{Read: read, OutputBound: 100}},
		{"choices alone bound nothing", chat, `{"n":3}`, Request{Read: read}},
		{"a huge bound is cut", chat, `{"max_tokens":999999999999999}`, Request{Read: read, OutputBound: 1e12}},
		{"a bound beyond counting is cut, too", chat, `{"max_tokens":1e300}`, Request{Read: read, OutputBound: 1e12}},
		{"huge choices can't overflow", chat, `{"max_tokens":999999999999999,"n":999999999999999}`, Request{Read: read, OutputBound: 1e12}},
		{"many choices of few tokens are cut, too", chat, `{"max_tokens":10,"n":999999999999}`, Request{Read: read, OutputBound: 1e12}},
		{"of duplicates the last counts, of bounds the largest", chat, `{"model":"a","stream":true,"max_tokens":1,"n":9,"model":"b","stream":false,"max_tokens":2,"n":1}`,
			Request{Read: read, Model: "b", OutputBound: 18}},
		{"completions are read the same", completions, `{"prompt":"x","model":"a","max_tokens":5,"n":2,"stream":true}`,
			Request{Read: read, Model: "a", OutputBound: 10, Stream: true}},
		{"completions know one bound only", completions, `{"max_completion_tokens":15}`, Request{Read: read}},
		{"embeddings are read the same", embeddings, `{"input":["x","y"],"model":"a"}`, Request{Read: read, Model: "a"}},
		{"white space and a byte order mark are nothing", chat, "\ufeff \r\n{ \"model\" : \"a\" }\n", Request{Read: read, Model: "a"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.want.Bytes = int64(len(test.body))
			for how, lengths := range cuts {
				if got := basics(readRequest(test.dialect, []byte(test.body), lengths)); got != test.want {
					t.Errorf("%s: got %+v, want %+v", how, got, test.want)
				}
			}
		})
	}
}

func TestOfABrokenRequestWhatWasFoundIsUsed(t *testing.T) {
	for _, test := range []struct {
		body string
		want Request
	}{
		{``, Request{Unread: NoBody}}, {` `, Request{Unread: Malformed}}, {`{`, Request{Unread: Malformed}},
		{`model=a&max_tokens=5`, Request{Unread: Malformed}},
		{`{"model":"a"`, Request{Unread: Malformed, Model: "a"}}, {`{"model":"a",}`, Request{Unread: Malformed, Model: "a"}},
		{`{"model":"a" "n":1}`, Request{Unread: Malformed, Model: "a"}},
		{`{"model":"a","max_tokens":5,"stream":true`, Request{Unread: Malformed, Model: "a", OutputBound: 5, OutputLoose: true, Stream: true}},
	} {
		for how, lengths := range cuts {
			test.want.Bytes = int64(len(test.body))
			got := readRequest(chat, []byte(test.body), lengths)
			got.Prompt = Prompt{}
			if got != test.want {
				t.Errorf("%q %s: got %+v, want %+v", test.body, how, got, test.want)
			}
		}
	}
}

func TestARequestThatIsNoObjectAsksForNothing(t *testing.T) {
	for _, body := range []string{`[]`, `"model"`, `3`, `null`, `[{"model":"a"}]`} {
		want := Request{Read: true, Bytes: int64(len(body))}
		if got := basics(readRequest(chat, []byte(body), cuts["whole"])); got != want {
			t.Errorf("%s: got %+v, want %+v", body, got, want)
		}
	}
}

func TestAReaderCanBeUsedAgain(t *testing.T) {
	var r RequestReader
	for _, test := range []struct {
		body string
		want Request
	}{
		{`{"model":"a","max_tokens":5,"n":2,"stream":true}`, Request{Read: true, Model: "a", OutputBound: 10, Stream: true}},
		{`{"broken`, Request{}},
		{`{"model":"b","max_tokens":1}`, Request{Read: true, Model: "b", OutputBound: 1}},
	} {
		r.Reset(chat, Request{}, Form{}, 1<<20)
		r.Write([]byte(test.body))
		if got := r.Bytes(); got != int64(len(test.body)) {
			t.Errorf("%s: %d bytes", test.body, got)
		}
		test.want.Bytes = int64(len(test.body))
		if got := basics(r.Close()); got != test.want {
			t.Errorf("got %+v, want %+v", got, test.want)
		}
	}
}
