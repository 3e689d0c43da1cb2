package autosize

import (
	"fmt"
	"testing"
)

// rivals are other ways to learn slots, from the same samples.
var rivals = []struct {
	name string
	make func() sizer
}{
	{"netflix gradient", func() sizer { return &gradient{limit: 20} }},
	{"envoy", func() sizer { return &envoy{} }},
	{"vegas, whole answers", func() sizer { return &vegas{limit: 20} }},
	{"vegas, first tokens", func() sizer { return &vegas{limit: 20, byTTFT: true} }},
	{"aimd", func() sizer { return &aimd{limit: 20} }},
}

// On each trace: the share of all requests whose first token came in time. `go test -v -run TestBesideOthers` prints the table of docs/design.md.
func TestBesideOthers(t *testing.T) {
	header := "| trace | off | by hand | this |"
	for _, r := range rivals {
		header += " " + r.name + " |"
	}
	t.Log(header)
	worst := make([]float64, len(rivals))
	worstOwn := 0.0
	for _, sc := range scenes() {
		off, hand, own := play(sc, nil).share(), play(sc, fixed(sc.hand)).share(), play(sc, newLittle()).share()
		line := fmt.Sprintf("| %s | %.1f | %.1f (%d) | **%.1f** |", sc.name, 100*off, 100*hand, sc.hand, 100*own)
		if own < off-0.03 {
			t.Errorf("%s: %.3f in time, and %.3f without slots", sc.name, own, off)
		}
		worstOwn = max(worstOwn, hand-own)
		for i, r := range rivals {
			share := play(sc, r.make()).share()
			worst[i] = max(worst[i], hand-share)
			line += fmt.Sprintf(" %.1f |", 100*share)
		}
		t.Log(line)
	}
	t.Logf("below those set by hand at most: %.3f, the others %.3f", worstOwn, worst)
	if worstOwn > 0.04 {
		t.Errorf("up to %.1f points below slots that were set by hand", 100*worstOwn)
	}
	for i, r := range rivals {
		if worst[i] < 2*worstOwn {
			t.Errorf("%s is as good: %.1f points below those set by hand at most", r.name, 100*worst[i])
		}
	}
}
