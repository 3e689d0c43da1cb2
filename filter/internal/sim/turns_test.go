package sim

import (
	"testing"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/dispatch"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
)

// waitsOf runs a scene, and gives the waits of each source's requests.
func waitsOf(t *testing.T, s Scene) (w *World, waited [][]int64) {
	t.Helper()
	waited = make([][]int64, len(s.Sources))
	w = New(s)
	w.onWait = func(r *request, wait int64) { waited[r.source.index] = append(waited[r.source.index], wait) }
	if err := w.Run(); err != nil {
		t.Error(err)
	}
	return w, waited
}

// TestAWorkerWithoutSlotsGetsSome: one worker has all slots and many users of one request each, another one has few of them.
func TestAWorkerWithoutSlotsGetsSome(t *testing.T) {
	w, waited := waitsOf(t, Scene{
		Seed: 1, Workers: 2, Length: 120 * second, Upstream: Upstream{Service: second},
		Settings: dispatch.Settings{Slots: 8, QueueMax: 500, MaxWait: waits},
		Sources: []Source{
			{Mix: only(config.Normal), Rate: 9, Tokens: 1000, Workers: []int{0}},
			{Mix: only(config.Normal), Rate: 0.2, Tokens: 1000, Workers: []int{1}},
		},
	})
	many, few := Quantile(waited[0], 0.99), Quantile(waited[1], 0.99)
	t.Logf("p99 of the busy worker's waits %.1f s, of the other's %.1f s", seconds(many), seconds(few))
	if few > many+second || w.Refused[gate.Timeout] > 0 {
		t.Errorf("the other worker's requests wait %.1f s, not %.1f s; %v", seconds(few), seconds(many), w.Refused)
	}
}

// TestALightUserBesideAHeavyOne: what is served at a higher priority does not change who is due at this one.
func TestALightUserBesideAHeavyOne(t *testing.T) {
	s := Scene{
		Seed: 1, Workers: 1, Length: 240 * second, Upstream: Upstream{Service: second},
		Settings: dispatch.Settings{Slots: 10, QueueMax: 500, MaxWait: waits},
		Sources: []Source{
			{Subject: 1, Mix: only(config.High), Rate: 8, Tokens: 1000},
			{Subject: 2, Mix: only(config.Normal), Rate: 4, Tokens: 1000},
			{Subject: 3, Mix: only(config.Normal), Rate: 0.2, Tokens: 1000},
		},
	}
	s.Settings.MaxWait[config.Normal] = 10 * minute
	_, waited := waitsOf(t, s)
	heavy, light := Quantile(waited[1], 0.5), Quantile(waited[2], 0.5)
	t.Logf("median wait of the heavy user %.1f s, of the light one %.1f s", seconds(heavy), seconds(light))
	if light > heavy/10 {
		t.Errorf("the light user waits %.1f s, the heavy one %.1f s", seconds(light), seconds(heavy))
	}
}
