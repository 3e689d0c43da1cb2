package main

import (
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/internal/docpages"
)

func TestEveryKeyIsInTheReference(t *testing.T) {
	text, err := configurationReference("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| `namespace` | a name of 1 to 64 letters, digits, \"_\", \".\" and \"-\" | `default` | `namespace: default` |",
		"\n### `upstreams[].queue.maxWait`\n",
		"| `quantity` | an integer from 1 to 1000000000000 | **required** | `quantity: 300` |",
		"| `window` | hour, day, week or month, or a duration such as \"60s\" or \"1h\", from 1s to 8784h | **required** | `window: 1h` |",
		"| `low` | a duration, from 1ms to 1h | `2s` | `low: 2s` | Longest wait of priority low. |",
		"| `queue` | [an object](#upstreamsqueue) |",
		"The keys are those of [`identity.user.sources[]`](#identityusersources).",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %q", want)
		}
	}
	s := config.Describe()
	for _, missing := range unwritten(text, "", &s) {
		t.Errorf("lacks %s", missing)
	}
	if strings.Contains(text, "\n## More\n") {
		t.Error("a key is in no group: want it in one of those in configuration.go")
	}
}

// unwritten lists the keys that have no row with a value and an example.
func unwritten(text, path string, s *config.Schema) (missing []string) {
	_, rows, found := strings.Cut(text, "\n### `"+path+"`\n")
	if path == "" {
		rows, found = text, true
	}
	if !found {
		return []string{path}
	}
	if path != "" {
		rows, _, _ = strings.Cut(rows, "\n#")
	}
	if strings.Contains(rows, "The keys are those of ") {
		return nil
	}
	for _, p := range s.Properties {
		at := join(path, p.Name)
		inner, innerAt := within(at, &p.Schema)
		row := "\n| `" + p.Name + "` | "
		if inner != nil {
			missing = append(missing, unwritten(text, innerAt, inner)...)
		} else if _, cells, is := strings.Cut(rows, row); !is || !strings.Contains(strings.SplitN(cells, "\n", 2)[0], "| `"+p.Name+": ") {
			missing = append(missing, at)
		}
	}
	return missing
}

func TestAnchorsAreThoseOfForges(t *testing.T) {
	for heading, want := range map[string]string{
		"`upstreams[].queue`": "upstreamsqueue", "Who may change": "who-may-change", "A `404`, a-b_c": "a-404-a-b_c",
	} {
		if got := docpages.Anchor(heading); got != want {
			t.Errorf("%s: %s, want %s", heading, got, want)
		}
	}
}
