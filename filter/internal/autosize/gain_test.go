package autosize

import (
	"testing"
	"time"
)

// foreknown is the share of a scene's requests that come in time where it is known of each, when it comes, whether it will, who wouldn't is refused
// at once, and nobody asks again: more than any gate can bring about, but by refusing some for the sake of several others.
func foreknown(sc *scene) float64 {
	for shut := map[int]bool{}; ; {
		asked, inTime, late := tryWithout(sc, shut)
		if late < 0 {
			return 100 * float64(inTime) / float64(asked)
		}
		shut[late] = true
	}
}

// tryWithout plays a scene without some of its requests, and says which is the first of the others that comes late; below 0: none.
func tryWithout(sc *scene, shut map[int]bool) (asked, inTime, late int) {
	w, jobs := &lab{server: sc.server(), ends: func(*job) {}}, sc.jobs()
	w.firsts = func(j *job) {
		if j.first == 0 {
			j.first = w.now
		}
	}
	for i, j := range jobs {
		if shut[i] {
			continue
		}
		w.at(j.due, func() { w.server.take(w, j) })
		if !j.foreign {
			w.at(j.due+sc.patience, func() { j.gone = j.first == 0 })
		}
	}
	w.run(sc.length + 10*second)
	late = -1
	for i, j := range jobs {
		switch {
		case j.foreign:
			continue
		case shut[i]:
		case j.first > 0 && j.first-j.due <= sc.target:
			inTime++
		case late < 0 || j.due < jobs[late].due:
			late = i
		}
		asked++
	}
	return asked, inTime, late
}

// Where a server is hardly ever full there is little to gain, and what is refused for nothing is lost. On no trace of the benchmarks in Envoy, and on
// none of those that nothing was chosen by, do the gates cost what they don't give: neither all three nor the throttle alone. `go test -v -run
// TestGatesCostNothing` prints the table of docs/gates.md.
func TestGatesCostNothing(t *testing.T) {
	const seeds = 4
	t.Log("| trace | off | latency | throttle | all three | at most |")
	sets := []gateSet{gateSets[0], gateSets[1], {"throttle", enforced(throttleMode)}, gateSets[2]}
	for i, sc := range benched(0, 30*second) {
		var shares [4]float64
		most := 0.0
		for n := range uint64(seeds) {
			sc = benched(n, 30*second)[i]
			var off float64
			for k, set := range sets {
				got := playGates(t, sc, set).share()
				shares[k] += got / seeds
				if k == 0 {
					off = got
				} else if got < off-2 {
					t.Errorf("%s, %d, %s: %.1f %%, and %.1f %% without", sc.name, n, set.name, got, off)
				}
			}
			most += foreknown(sc) / seeds
		}
		t.Logf("| %s | %.1f | %+.1f | %+.1f | **%+.1f** | %+.1f |", sc.name, shares[0], shares[1]-shares[0], shares[2]-shares[0], shares[3]-shares[0], most-shares[0])
		for k, set := range sets {
			if shares[k] < shares[0]-0.5 {
				t.Errorf("%s, %s: %.1f %%, and %.1f %% without", sc.name, set.name, shares[k], shares[0])
			}
		}
		if all := shares[3] - shares[0]; most-shares[0] > 14 && all < 6.4 {
			t.Errorf("%s: %+.1f of %+.1f that could be had", sc.name, all, most-shares[0])
		}
	}
}

// A busy machine between client and server adds to each time what nobody can foresee. What the gates refuse then must hardly be more for nothing: not of long
// prompts, which come in time if nothing else keeps them waiting, and not of short ones behind them, which the server reads beside them.
func TestJitterCostsNextToNothing(t *testing.T) {
	const seeds = 6
	for i, sc := range benched(0, 30*second) {
		var off, on float64
		for n := range uint64(seeds) {
			sc = benched(n, 30*second)[i]
			sc.jitter = 20 * time.Millisecond
			off, on = off+playGates(t, sc, gateSets[0]).share()/seeds, on+playGates(t, sc, gateSets[1]).share()/seeds
		}
		t.Logf("%s: %.1f, %+.1f", sc.name, off, on-off)
		if on < off-0.75 {
			t.Errorf("%s: %.1f %%, and %.1f %% without", sc.name, on, off)
		}
	}
}

// The surge of the benchmarks is longer, and what is normal is known before its bursts.
func TestThrottleAloneCostsNothingInASurge(t *testing.T) {
	gained := 0.0
	for _, length := range []time.Duration{60 * second, 100 * second} {
		for n := range uint64(10) {
			sc := benched(n, length)[0]
			off, on := playGates(t, sc, gateSets[0]), playGates(t, sc, gateSet{"throttle", enforced(throttleMode)})
			t.Logf("%v, %d: %.1f, %+.1f %v", length, n, off.share(), on.share()-off.share(), on.reasons)
			gained += (on.share() - off.share()) / 20
		}
	}
	if gained < 0 {
		t.Errorf("%+.1f points", gained)
	}
}
