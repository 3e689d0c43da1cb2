package health

import (
	"bytes"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/latency"
)

// However many models clients name, an upstream has so many keys, and no more.
func TestKeysAreBounded(t *testing.T) {
	u := upstream()
	u.Latency.Per = config.LatencyGlobal
	for _, u := range []*config.Upstream{upstream(), u} {
		store := newStore()
		gates := workers(u, store, 3)
		now := noon
		for i := range 5000 {
			r := chat("model-" + strconv.Itoa(i%500+i/1000))
			serve(t, gates[i%3], now, r, quick)
			now += 7 * second / 10
		}
		if len(store.values) > mostKeys || len(store.values) < places || mostKeys != 67 || recordSize != 1373 { // as the package says
			t.Errorf("%d keys", len(store.values))
		}
		size := 0
		for key, value := range store.values {
			size += len(key) + len(*value)
		}
		t.Logf("%d keys, %d bytes", len(store.values), size)
		if size > 92<<10 {
			t.Errorf("%d bytes", size)
		}
	}
}

func model(i int) string { return "model-" + strconv.Itoa(i) }

// Failures of names that a client made up: they are no evidence against a model that has no place, whichever came first.
func TestMadeUpModelsRefuseNoOther(t *testing.T) {
	for _, first := range []string{"junk", "models"} {
		g := workers(upstream(), newStore(), 1)[0]
		now := noon
		if first == "models" {
			for i := range places {
				serve(t, g, now, chat(model(i)), quick)
			}
		}
		for i := range 2 * places {
			now += second / 100
			fails(t, g, now, "junk-"+strconv.Itoa(i), 25)
		}
		for _, m := range []string{model(0), model(places - 1), "good"} {
			if v := serve(t, g, now, chat(m), quick); v.Outcome.Refuses() {
				t.Errorf("%s first: %s: %+v", first, m, v)
			}
		}
		if got := len(look(t, g, now)); got != places {
			t.Errorf("%d models", got)
		}
		// A model that answers takes the place of one that never did, and is judged by itself from then on.
		fails(t, g, now, model(0), 25)
		if v := g.Breaker(now, chat(model(0))); !v.Outcome.Refuses() {
			t.Errorf("%s first: the breaker of a model is not open: %+v", first, v)
		}
	}
}

// What the configuration names has a place before all else, also if others answer.
func TestConfiguredModelsKeepTheirPlace(t *testing.T) {
	store := newStore()
	settings := NewSettings(upstream(), config.Enforce)
	settings.Models = []string{"named", "also-named"}
	gates := []*Gates{New(settings, store, "x", 1), New(settings, store, "x", 2)}
	now := noon
	serve(t, gates[0], now, chat("named"), quick)
	for i := range 3 * places {
		now += second
		serve(t, gates[i%2], now, chat(model(i)), quick)
	}
	fails(t, gates[1], now, "also-named", 25)
	m := look(t, gates[0], now)
	if m["named"].ITL.Value == 0 || m["also-named"].Breaker.State != "OPEN" || len(m) != places {
		t.Errorf("%+v, %+v", m["named"], m["also-named"])
	}
	now += clock.Moment(3 * idle)
	for i := range 2 * places {
		serve(t, gates[i%2], now, chat("later-"+strconv.Itoa(i)), quick)
	}
	if m := look(t, gates[0], now); m["named"].Name == "" || m["also-named"].Name == "" {
		t.Error("they were forgotten while nobody asked for them")
	}
}

// After ten minutes the ones that nobody uses make room; those in use stay.
func TestIdleModelsMakeRoom(t *testing.T) {
	g := workers(upstream(), newStore(), 1)[0]
	for i := range places {
		serve(t, g, noon, chat(model(i)), quick)
	}
	now := noon + second
	serve(t, g, now, chat("new"), quick)
	if m := look(t, g, now); m["new"].Name != "" || len(m) != places {
		t.Errorf("%d models, %+v", len(m), m["new"])
	}
	for i := range 60 {
		now += 20 * second
		serve(t, g, now, chat(model(i%2)), quick)
	}
	serve(t, g, now, chat("new"), quick)
	m := look(t, g, now)
	if m["new"].Name == "" || m[model(0)].Name == "" || m[model(1)].Name == "" || len(m) != places {
		t.Errorf("%v", m)
	}
}

// A place that is given to another model begins anew, also in a worker that hasn't heard of it.
func TestPlaceOfAnotherModel(t *testing.T) {
	store := newStore()
	gates := workers(upstream(), store, 2)
	for i := range places {
		serve(t, gates[0], noon, chat(model(i)), quick)
	}
	fails(t, gates[0], noon+second, "model-0", 25)
	early := chat("model-1")
	gates[1].Breaker(noon+second, early)
	now := noon + clock.Moment(2*idle)
	for i := range places {
		serve(t, gates[0], now, chat("fresh-"+strconv.Itoa(i)), quick)
	}
	m := look(t, gates[0], now)
	for i := range places {
		if v := m["fresh-"+strconv.Itoa(i)]; v.Breaker.State != "CLOSED" || v.TTFT.LastReason != "" {
			t.Errorf("%+v", v)
		}
	}
	before := len(look(t, gates[0], now))
	if err := gates[1].Finish(now+1, early, Outcome{Result: Failed}); err != nil { // its place is another model's
		t.Fatal(err)
	}
	if v := gates[1].Breaker(now+1, chat("model-0")); v.Outcome.Refuses() {
		t.Errorf("a breaker of a model that has been idle: %+v", v)
	}
	m = look(t, gates[0], now+1)
	for name, v := range m {
		if v.Breaker.Value != 0 || len(m) > before+1 {
			t.Errorf("%s: %+v", name, v)
		}
	}
	for i := range places {
		if v := m["fresh-"+strconv.Itoa(i)]; v.ITL.Value == 0 {
			t.Errorf("the record of model %d was overwritten", i)
		}
	}
}

// An open breaker refuses everything, so no answer says that its model is in use; the refusals do.
func TestOpenBreakersKeepTheirPlace(t *testing.T) {
	u := upstream()
	u.Breaker.OpenFor = 2 * 3600e9
	g := workers(u, newStore(), 1)[0]
	for i := range places {
		serve(t, g, noon, chat(model(i)), quick)
		fails(t, g, noon, model(i), 20)
	}
	now := noon
	for range 40 {
		now += clock.Moment(idle / 8)
		for i := range places {
			if v := g.Breaker(now, chat(model(i))); !v.Outcome.Refuses() {
				t.Fatalf("model %d: %+v", i, v)
			}
		}
		serve(t, g, now, chat("new"), quick)
	}
	if m := look(t, g, now); m["new"].Name != "" {
		t.Errorf("%+v", m["new"])
	}
}

// Two names of one hash are two models.
func TestSameHash(t *testing.T) {
	g := workers(upstream(), newStore(), 1)[0]
	fails(t, g, noon, "a", 25)
	same := chat("b")
	same.hash = hashOf("a")
	if v := judge(t, g, noon, same); v.Outcome.Refuses() {
		t.Errorf("%+v", v)
	}
	if err := g.Finish(noon, same, quick); err != nil {
		t.Fatal(err)
	}
	if m := look(t, g, noon); m["a"].Breaker.State != "OPEN" || len(m) != 1 || m["a"].TTFT.Value != 0 {
		t.Errorf("%+v", m)
	}
}

func TestLongAndEmptyNames(t *testing.T) {
	g := workers(upstream(), newStore(), 1)[0]
	long := strings.Repeat("x", 200)
	for _, model := range []string{"", long, long + "y"} {
		for range 2 {
			serve(t, g, noon, chat(model), quick)
		}
		if v := g.Breaker(noon, chat(model)); v.Outcome.Refuses() {
			t.Errorf("%+v", v)
		}
	}
	if m := look(t, g, noon); m[""].ITL.Value != 10 || m[long[:longName]].ITL.Value != 10 {
		t.Errorf("%+v", m)
	}
}

func TestRecordsAreReadAsTheyWereWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r modelRecord
		r.own(rapid.Uint64().Draw(t, "hash"), rapid.StringN(0, 100, 200).Draw(t, "model"))
		r.latency.Record(clock.Moment(rapid.Int64().Draw(t, "now")), &latency.Settings{TimeConstant: second}, latency.Sample{TTFT: time.Duration(rapid.Int64().Draw(t, "ttft"))})
		b := r.append(nil)
		var got modelRecord
		if len(b) != recordSize || !got.decode(b) || got != r {
			t.Fatalf("%+v became %+v", r, got)
		}
		cut := rapid.IntRange(0, len(b)-1).Draw(t, "cut")
		if got.decode(b[:cut]) || got != (modelRecord{}) {
			t.Fatalf("%d bytes of %d are read: %+v", cut, len(b), got)
		}
	})
}

// Whatever lies in the store: it is refused, or works.
func FuzzDecode(f *testing.F) {
	var r modelRecord
	r.own(hashOf("a"), "a")
	store := newStore()
	g := New(NewSettings(upstream(), config.Enforce), store, "x", 1)
	for range 25 {
		q := chat("a")
		g.Breaker(noon, q)
		g.Throttle(noon, q)
		_ = g.Finish(noon, q, Outcome{Result: Failed, ITL: second})
	}
	f.Add((&names{{hash: 1}}).append(nil), r.append(nil), []byte{layout}, int64(noon))
	f.Add(bytes.Clone(*store.values["x/names"]), bytes.Clone(*store.values["x/0"]), bytes.Clone(*store.values["x/throttle"]), int64(noon+60*second))
	f.Add([]byte{}, []byte{2}, []byte("x"), int64(-1))
	f.Fuzz(func(t *testing.T, names, model, throttle []byte, now int64) {
		var r modelRecord
		if r.decode(model) {
			if again := r.append(nil); !bytes.Equal(again, model) {
				t.Fatalf("%x became %x", model, again)
			}
		}
		store := newStore()
		for key, value := range map[string][]byte{"x/names": names, "x/0": model, "x/throttle": throttle, "x/all": model} {
			if _, err := store.Put(key, value, 0); err != nil {
				t.Fatal(err)
			}
		}
		g := New(NewSettings(upstream(), config.Enforce), store, "x", 1)
		for range 3 {
			q := chat("a")
			for _, v := range []gate.Verdict{g.Breaker(clock.Moment(now), q), g.Latency(clock.Moment(now), q), g.Throttle(clock.Moment(now), q)} {
				if v.Err != nil {
					t.Fatal(v.Err)
				}
				_ = v.Text.String()
			}
			if err := g.Finish(clock.Moment(now+second), q, quick); err != nil {
				t.Fatal(err)
			}
			if err := g.Tick(clock.Moment(now + second)); err != nil {
				t.Fatal(err)
			}
			if _, err := g.Snapshot(clock.Moment(now + second)); err != nil {
				t.Fatal(err)
			}
			now += second
		}
	})
}
