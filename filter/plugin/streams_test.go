package plugin

import (
	"testing"

	"pgregory.net/rapid"
)

// The table finds what a map finds, whichever numbers come and go: they may begin anywhere, collide, and wrap around.
func TestStreamsAreFoundByTheirNumbers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var table streams
		want := map[uint32]*stream{}
		first := rapid.Uint32().Draw(t, "first")
		for range rapid.IntRange(1, 400).Draw(t, "changes") {
			id := first + rapid.SampledFrom([]uint32{1, 1 << 6, 1 << 7}).Draw(t, "step")*rapid.Uint32Range(0, 90).Draw(t, "number")
			if rapid.IntRange(0, 2).Draw(t, "put") > 0 {
				s := &stream{}
				s.state.ID = id
				table.put(s)
				want[id] = s
			} else {
				table.remove(id)
				delete(want, id)
			}
			if table.count != len(want) || 2*table.count > len(table.slots) {
				t.Fatalf("%d are counted of %d, in %d places", table.count, len(want), len(table.slots))
			}
		}
		for id, s := range want {
			if table.get(id) != s {
				t.Fatalf("%d is lost", id)
			}
			table.remove(id)
			if table.get(id) != nil {
				t.Fatalf("%d is still there", id)
			}
		}
	})
}
