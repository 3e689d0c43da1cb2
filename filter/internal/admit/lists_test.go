package admit

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
	"github.com/spillway-proxy/spillway/filter/internal/roster"
)

// gateways are two workers of a gateway and one of an admin listener.
type gateways struct {
	one, two, listener *host
	store              *recordtest.Memory
}

func newGateways(t *testing.T, configuration string) *gateways {
	t.Helper()
	g := &gateways{store: recordtest.NewMemory()}
	g.one, g.two = newHost(t, configuration, g.store), newHost(t, configuration, g.store)
	g.two.worker.id = 2
	g.two.beat.roster = roster.New(g.store, "default", 2, 2, counted)
	g.one.Announce([]byte(configuration))
	g.listener = newHost(t, `{"mode":"off",`+adminConfig("open")+`}`, g.store)
	g.pass()
	g.pass()
	return g
}

// pass lets a second pass.
func (g *gateways) pass() {
	for _, h := range [...]*host{g.listener, g.one, g.two} {
		h.now += second
		h.tick()
	}
}

// listed gives some fields of the objects in a list of the answer, one line each.
func listed(t *testing.T, body map[string]any, key string, fields ...string) string {
	var lines []string
	t.Helper()
	list, is := body[key].([]any)
	if !is {
		t.Fatalf("%s is %v", key, body[key])
	}
	for _, entry := range list {
		var values []string
		for _, field := range fields {
			value, has := entry.(map[string]any)[field]
			if !has {
				t.Fatalf("no %s in %v", field, entry)
			}
			text, _ := json.Marshal(value)
			values = append(values, string(text))
		}
		lines = append(lines, strings.Join(values, " "))
	}
	return strings.Join(lines, "\n")
}

const listConfig = `{"requestHold":"stopIteration","limits":[{"name":"u","per":["user"],"unit":"completionTokens","quantity":100,"window":"1h"},
	{"name":"k","per":["key"],"unit":"requests","quantity":3,"window":"1h"},{"name":"s","unit":"requests","quantity":1,"window":"1h","mode":"shadow"}],
	"upstreams":[{"name":"vllm","concurrency":{"max":9}}]}`

func TestSubjects(t *testing.T) {
	g := newGateways(t, listConfig)
	const evil = `"><script>alert(1)</script>`
	for i, who := range []string{"ann", "bob", "ann", evil, "ann", "bob"} {
		h := g.one
		if i%2 == 0 {
			h = g.two
		}
		x := h.start(who, false, [2]string{"x-api-key", "sk-secret-" + who})
		if x.Refused() {
			x.done()
			continue
		}
		if x.body(chatBody, true); x.Refused() {
			x.done()
			continue
		}
		x.answer(used(5, 60)) // the second is all there is
	}
	g.pass()
	code, body := g.listener.get(t, "/spillway/subjects?limit=u")
	expect(t, "status", code, 200)
	expect(t, "limit and workers", fmt.Sprint(body["limit"], body["workers"], body["halvedEverySeconds"], body["usedError"], body["refusedError"]), "u2 300 0 0")
	expect(t, "by use", listed(t, body, "subjects", "subject", "used", "usedAtMost", "refused"),
		`"user=ann" 120 120 1
"user=bob" 120 120 0
"user=\"\u003e\u003cscript\u003ealert(1)\u003c/script\u003e" 60 60 0`)
	expect(t, "by refusals", listed(t, body, "mostRefused", "subject", "refused", "refusedAtMost", "lastRefusal"),
		`"user=ann" 1 1 {"reason":"tokens_exceeded","time":"2020-01-04T00:00:02.000Z"}`)
	raw := string(g.listener.admin("GET", "/spillway/subjects?limit=u&top=1", true).last.Reply.Body)
	if strings.Contains(raw, "<") || strings.Contains(raw, "bob") || strings.Contains(raw, "script") {
		t.Errorf("of the first: %s", raw)
	}
	raw = string(g.listener.admin("GET", "/spillway/subjects?limit=k", true).last.Reply.Body)
	if strings.Contains(raw, "secret") || strings.Count(raw, `"key=h:`) != 3 {
		t.Errorf("of keys: %s", raw)
	}
	_, body = g.listener.get(t, "/spillway/subjects?limit=s")
	expect(t, "in shadow mode", listed(t, body, "subjects", "subject", "used", "refused"), `"everybody" 1 4`)

	// What was used half a period ago counts half; a list is made once a second.
	x := g.one.ask("zoe")
	x.answer(used(5, 7))
	g.pass()
	for range 300 {
		g.pass()
	}
	_, body = g.listener.get(t, "/spillway/subjects?limit=u&top=2")
	expect(t, "later", listed(t, body, "subjects", "subject", "used"), "\"user=ann\" 60\n\"user=bob\" 60")
	for path, want := range map[string]int{"limit=x": 404, "": 404, "limit=u&top=0": 422, "limit=u&top=101": 422, "limit=u&top=x": 422, "limit=u&top=-1": 422} {
		code, body := g.listener.get(t, "/spillway/subjects?"+path)
		if text, _ := json.Marshal(body); code != want || !strings.Contains(string(text), `"errors":[{`) {
			t.Errorf("%s: %d %s", path, code, text)
		}
	}
}

func TestDecisions(t *testing.T) {
	g := newGateways(t, listConfig)
	for i, who := range []string{"ann", "bob", "ann", "bob"} {
		h := g.one
		if i%2 == 0 {
			h = g.two
		}
		g.one.now, g.two.now = g.one.now+second, g.two.now+second
		x := h.start(who, false, [2]string{"x-tenant-id", "acme"}, [2]string{"x-priority", "high"})
		x.body(strings.Replace(chatBody, "mock", "mo<k", 1), true)
		if x.Refused() {
			x.done()
			continue
		}
		x.answer(used(5, 160))
	}
	g.one.start("zoe", false, [2]string{"x-user-id", "y\x00"}).done()
	g.pass()
	code, body := g.listener.get(t, "/spillway/decisions")
	expect(t, "status", code, 200)
	expect(t, "the latest first", listed(t, body, "decisions", "decision", "gate", "reason", "limit", "subject", "model", "priority", "upstream", "retryable"),
		`"REJECTED" "identity" "repeated_header" null "anonymous" null "NORMAL" null false
"REJECTED" "limits" "tokens_exceeded" "u" "user=bob" "mo\u003ck" "HIGH" "vllm" true
"REJECTED" "limits" "tokens_exceeded" "u" "user=ann" "mo\u003ck" "HIGH" "vllm" true
"SHADOW" "limits" "requests_exceeded" "s" "everybody" "mo\u003ck" "HIGH" "vllm" true`)
	expect(t, "when", listed(t, body, "decisions", "time"), strings.Join([]string{`"2020-01-04T00:00:06.000Z"`, `"2020-01-04T00:00:06.000Z"`,
		`"2020-01-04T00:00:05.000Z"`, `"2020-01-04T00:00:04.000Z"`}, "\n"))
	if wait := listed(t, body, "decisions", "retryAfterSeconds"); !strings.HasPrefix(wait, "null\n2158.") {
		t.Errorf("when it is worth trying: %s", wait)
	}
	_, body = g.listener.get(t, "/spillway/decisions?last=2")
	expect(t, "the last two", listed(t, body, "decisions", "gate"), "\"identity\"\n\"limits\"")
	if code, _ := g.listener.get(t, "/spillway/decisions?last=1000"); code != 422 {
		t.Errorf("a thousand: %d", code)
	}
}

// What nobody asks for is told to nobody, and what hasn't changed isn't told again.
func TestListsAreToldWhereThereIsASurfaceAndNews(t *testing.T) {
	writes := 0
	watch := func(g *gateways) {
		g.store.Conflict = func(key string) {
			if strings.Contains(key, "/h1/") || strings.Contains(key, "/j1/") {
				writes++
			}
		}
	}
	refuse := func(h *host) {
		for range 2 {
			h.start("ann", true).done()
		}
	}
	g := newGateways(t, `{"limits":[{"name":"r","per":["user"],"unit":"requests","quantity":1,"window":"1h"}]}`)
	watch(g)
	for i, want := range []int{2, 2, 4, 4} { // the limit's and the journal's, each once
		if i%2 == 0 {
			refuse(g.one)
		}
		g.pass()
		expect(t, fmt.Sprint("told by the second ", i), writes, want)
	}
	alone := newHost(t, `{"limits":[{"name":"r","per":["user"],"unit":"requests","quantity":1,"window":"1h"}]}`, recordtest.NewMemory())
	watch(&gateways{store: alone.Store.(*recordtest.Memory)})
	refuse(alone)
	for range 3 {
		alone.now += second
		alone.tick()
	}
	expect(t, "without a surface", writes, 4)
}

// A worker that lives through several configurations tells once what it knows, whichever of its limits have moved.
func TestSubjectsOutliveAConfiguration(t *testing.T) {
	const limits = `{"name":"r","per":["user"],"unit":"requests","quantity":1,"window":"1h"}`
	g := newGateways(t, `{"limits":[`+limits+`]}`)
	for range 3 {
		g.one.start("ann", true).done()
	}
	g.pass()
	moved := `{"limits":[{"name":"new","unit":"requests","quantity":9,"window":"1h"},` + limits + `]}`
	cfg, err := config.Parse([]byte(moved))
	if err != nil {
		t.Fatal(err)
	}
	again := *g.one // the next plugin context of the same worker
	if again.Engine, err = New(&cfg, &again.proxy, g.one.worker, []byte("another instance")); err != nil {
		t.Fatal(err)
	}
	again.drain(nil)
	again.Announce([]byte(moved))
	again.start("ann", true).done()
	again.now += second
	again.tick()
	g.listener.now += second
	_, body := g.listener.get(t, "/spillway/subjects?limit=r")
	expect(t, "refused", listed(t, body, "subjects", "subject", "used", "refused"), `"user=ann" 1 3`)
	g.one.Change(&cfg) // in place
	g.one.start("ann", true).done()
	g.pass()
	_, body = g.listener.get(t, "/spillway/subjects?limit=r")
	expect(t, "refused", listed(t, body, "subjects", "subject", "used", "refused"), `"user=ann" 1 4`)
}

// Where nobody can ask, nothing is noted; who puts an admin surface up later finds what happens from the next beat on.
func TestNothingIsNotedWhereNobodyCanAsk(t *testing.T) {
	store := recordtest.NewMemory()
	gateway := newHost(t, `{"requestHold":"stopIteration",`+oneRequest+`}`, store)
	gateway.ask("ann").answer(used(5, 60))
	notes := func(when string, journal uint32, names int) {
		t.Helper()
		gateway.start("ann", false).done()
		var changes uint32
		if ring := gateway.worker.journal; ring != nil {
			changes = ring.Changes
		}
		expect(t, when+", refusals", changes, journal)
		records := 0
		expect(t, when, gateway.limits.Tell(gateway.now, 1, func(int, []byte) error { records++; return nil }), nil)
		expect(t, when+", subjects", records, names)
	}
	notes("somebody may ask", 1, 1)
	for range firstBeats {
		gateway.now += second
		gateway.tick()
	}
	notes("nobody asks", 1, 0)
	listener := newHost(t, `{"mode":"off",`+adminConfig("open")+`}`, store)
	listener.now = gateway.now
	for range 2 {
		for _, h := range [...]*host{listener, gateway} {
			h.now += second
			h.tick()
		}
	}
	notes("somebody does", 2, 1)
	gateway.now += second
	gateway.tick()
	listener.now += 2 * second
	_, body := listener.get(t, "/spillway/decisions")
	expect(t, "listed", listed(t, body, "decisions", "subject", "gate"), "\"user=ann\" \"limits\"\n\"user=ann\" \"limits\"")
}
