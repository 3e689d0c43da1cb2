package admit

import (
	"fmt"
	"testing"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/origin"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

const labelled = `{"models":{"labels":["m-*","exact"],"aliases":{"nick":"m-alias"}},"upstreams":[{"name":"a","models":["m-up","x-up"]},
	{"name":"b","models":["*"]}],"limits":[{"name":"l","unit":"requests","quantity":1,"window":"1h","per":["user"],"match":{"models":["m-limit","m-l*"]}}]}`

func TestNamedModels(t *testing.T) {
	t.Parallel()
	cfg, err := config.Parse([]byte(labelled))
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "named", fmt.Sprint(namedModels(&cfg)), "[exact m-alias m-limit m-up x-up]")
}

func TestLabels(t *testing.T) {
	t.Parallel()
	cfg, err := config.Parse([]byte(labelled))
	if err != nil {
		t.Fatal(err)
	}
	l := newLabels(&cfg, &labels{})
	has := func(model, want string) {
		t.Helper()
		if got, _ := l.of(model); got != want {
			t.Errorf("%s has the label %s, want %s", model, got, want)
		}
	}
	now := start
	for i := range 3 * mostLabels { // more than there is room for
		l.learn(now, fmt.Sprint("m-", i))
		l.learn(now, fmt.Sprint("other-", i))
	}
	for model, want := range map[string]string{
		"exact": "exact", "m-alias": "m-alias", "m-limit": "m-limit", "m-up": "m-up", "x-up": "other", "": "other",
		"m-0": "m-0", "m-99": "m-99", "m-100": "other", "other-0": "other",
	} {
		has(model, want)
	}
	now += clock.Moment(labelIdle) // one that is used stays; of the others the one that was used least goes
	for i := range mostLabels - 1 {
		l.learn(now, fmt.Sprint("m-", i))
	}
	l.learn(now, "m-new")
	l.learn(now, "m-newer")
	for model, want := range map[string]string{"m-0": "m-0", "m-98": "m-98", "m-99": "other", "m-new": "m-new", "m-newer": "other"} {
		has(model, want)
	}
	for i := range 10 * mostLabels { // however long it goes on
		now += clock.Moment(labelIdle)
		l.learn(now, fmt.Sprint("m-later-", i))
	}
	if l.free != 0 || l.given != labelsEver {
		t.Errorf("%d labels more at one time, %d ever", l.free, l.given)
	}
	has("m-up", "m-up")
}

// A label is learned from an answer: the request is counted once it is known, once, and under it.
func TestOnlyAnswersTeachLabels(t *testing.T) {
	t.Parallel()
	h := newHost(t, `{"models":{"labels":["*"]}}`, recordtest.NewMemory())
	ask := func(end func(x *exchange)) {
		x := h.ask("ann")
		expect(t, "counted before it is known", h.counts["requests ALLOWED none NORMAL mock"]+h.counts["requests ALLOWED none NORMAL other"], h.requests())
		end(x)
		x.done()
	}
	for _, end := range []func(*exchange){
		func(*exchange) {}, // its client leaves
		func(x *exchange) { x.status("404", "application/json", true) },
		func(x *exchange) { x.status("500", "application/json", true) },
		func(x *exchange) { x.host.comes(origin.Elsewhere); x.status("429", "application/json", true) },
		func(x *exchange) { x.events(`{"error":{"message":"no such model","code":404}}`) },
	} {
		ask(end)
	}
	expect(t, "counted as other", h.counts["requests ALLOWED none NORMAL other"], 5)
	ask(func(x *exchange) { x.answer(used(3, 4)) })
	expect(t, "counted under its name", h.counts["requests ALLOWED none NORMAL mock"], 1)
	expect(t, "its tokens", h.counts["tokens output reported mock"], 4)
	x := h.ask("ann")
	expect(t, "counted at once from then on", h.counts["requests ALLOWED none NORMAL mock"], 2)
	x.done()
}

// A model that the configuration names is measured, however many others were answered before it was first asked for.
func TestConfiguredModelsAreMeasuredFirst(t *testing.T) {
	t.Parallel()
	h := newHost(t, `{"upstreams":[{"name":"up","models":["named","m-*"],"breaker":{"mode":"enforce","minRequests":4}}]}`, recordtest.NewMemory())
	for i := range 100 {
		h.try(fmt.Sprint("m-", i)).serve(1, "200")
	}
	for _, model := range []string{"m-new", "named"} {
		for range 4 {
			h.try(model).serve(1, "500")
		}
	}
	wantPassed(t, h.try("m-new")) // there is no place for it
	wantRefused(t, h.try("named"), 503, "breaker/open")
}
