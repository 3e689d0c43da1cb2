package admit

import (
	"slices"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

// Whose word the priority is, is said once where it is everybody's, whatever the number of workers.
func TestThatEverybodyIsBelievedIsSaidOnce(t *testing.T) {
	const limits = `{"limits":[{"name":"l","unit":"requests","quantity":1,"window":"1h",`
	for configuration, want := range map[string][]bool{ // whether it is a warning
		`{}`: {false}, `{"priority":{"default":"low"}}`: {false}, limits + `"per":["user"]}]}`: {false},
		limits + `"per":["priority"]}]}`: {true}, limits + `"match":{"priorities":["low"]}}]}`: {true}, `{"upstreams":[{"name":"v"}]}`: {true},
		`{"priority":{"header":""}}`: nil, `{"priority":{"trust":[]},"upstreams":[{"name":"v"}]}`: nil, `{"priority":{"trust":[{}]}}`: nil,
	} {
		store := recordtest.NewMemory()
		var said []bool
		for range 3 {
			h := newHost(t, configuration, store)
			for i, text := range append(h.infos, h.advice...) {
				said = append(said, i >= len(h.infos))
				if !strings.Contains(text, "priority.trust") {
					t.Error(text)
				}
			}
		}
		if !slices.Equal(said, want) {
			t.Errorf("%s: %v, want %v", configuration, said, want)
		}
	}
}

// What isn't believed here isn't passed on as if it were.
func TestAPriorityThatIsNotBelievedGoesNoFurther(t *testing.T) {
	for configuration, want := range map[string]bool{
		`{"priority":{"forward":true}}`: false, `{"priority":{"forward":true,"trust":[]}}`: true, `{"priority":{"trust":[{}]}}`: true,
	} {
		x := newHost(t, configuration, recordtest.NewMemory()).start("ann", true, [2]string{"x-priority", "urgent"})
		taken := false
		for _, header := range x.last.Asked {
			taken = taken || header == [2]string{"x-priority", ""}
		}
		if taken != want {
			t.Errorf("%s: taken out: %v", configuration, taken)
		}
	}
}
