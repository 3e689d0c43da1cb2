package admit

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/override"
	"github.com/spillway-proxy/spillway/filter/internal/record"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
	"github.com/spillway-proxy/spillway/filter/internal/roster"
)

// ofGateway is a gateway's configuration, to be overridden.
func ofGateway(more string) string {
	return `{"requestHold":"stopIteration",` + more + `"limits":[{"name":"u","per":["user"],"unit":"completionTokens","quantity":300,"window":"1h"},
		{"name":"r","unit":"requests","quantity":1000,"window":"1h"}],
		"upstreams":[{"name":"llm","concurrency":{"max":1},"queue":{"max":9}}]}`
}

// workerOf has a configuration as the host gives it. id makes it another worker than others.
func workerOf(t fataler, configuration string, store record.Store, id byte) *host {
	t.Helper()
	h := newHost(t, configuration, store)
	var err error
	if h.Engine, err = New(&h.cfg, &h.proxy, new(Worker), append([]byte("fifteen bytes o"), id)); err != nil {
		t.Fatal(err)
	}
	h.Announce([]byte(configuration))
	h.drain(nil)
	return h
}

// listener is an admin listener.
func listener() string { return `{"mode":"off",` + adminConfig("open") + `}` }

// send sends a request with a token to the admin surface.
func (h *host) send(method, path, body string) (status int, answer string) {
	h.Helper()
	x := h.admin(method, "/spillway"+path, body == "", withToken...)
	if body != "" && x.last.Action == Hold {
		x.body(body, true)
	}
	if x.last.Action != Answer {
		h.Fatalf("%s %s isn't answered", method, path)
	}
	status, answer = x.last.Reply.Status, string(x.last.Reply.Body)
	x.done()
	if n := h.surface.uploading.count; n > 0 {
		h.Errorf("%d uploads", n)
	}
	return status, answer
}

// overrides is what of an answer is overridden.
func overridesIn(t fataler, answer string) string {
	t.Helper()
	var shown struct{ Overrides json.RawMessage }
	if err := json.Unmarshal([]byte(answer), &shown); err != nil {
		t.Fatalf("%v: %s", err, answer)
	}
	return string(shown.Overrides)
}

func TestAnOverrideIsInForceInEveryWorkerWithinAQuarterOfASecond(t *testing.T) {
	for _, where := range []string{"an admin listener", "the gateway"} {
		t.Run(where, func(t *testing.T) {
			store := recordtest.NewMemory()
			first, other := workerOf(t, ofGateway(adminConfig("open")+","), store, 1), workerOf(t, ofGateway(adminConfig("open")+","), store, 2)
			asked := first
			if where == "an admin listener" {
				asked = workerOf(t, listener(), store, 3)
			}
			for _, h := range []*host{first, other} {
				h.tick()
				x := h.ask("alice" + where)
				x.answer(used(9, 150))
			}
			expect(t, "the balance is used up", other.ask("alice"+where).Refused(), true)
			status, answer := asked.send("PATCH", "/overrides", `{"limits":{"u":{"quantity":500}},"statusCode":{"limits":430}}`)
			expect(t, "status", status, 200)
			expect(t, "overrides", overridesIn(t, answer), `{"limits":{"u":{"quantity":500}},"statusCode":{"limits":430}}`)
			if !strings.Contains(answer, `{"path":"/limits/0/quantity","file":300,"value":500}`) || !strings.Contains(answer, `"revision":1`) {
				t.Error(answer)
			}
			if logged := strings.Join(asked.infos, "\n"); !strings.Contains(logged, `PATCH /spillway/overrides: {} is now {"limits":{"u":{"quantity":500}}`) {
				t.Error(logged)
			}
			for _, h := range []*host{first, other} {
				h.now += clock.Moment(h.TickPeriod()) * millisecond
				expect(t, "ticks come often", h.TickPeriod() <= 250, true)
				h.tick()
				x := h.ask("alice" + where)
				expect(t, "passes, with what it has used", x.Refused(), false)
				x.done()
				_, answer := asked.send("GET", "/config", "")
				if !strings.Contains(answer, `"name":"u","per":["user"]`) || !strings.Contains(answer, `"quantity":500`) || strings.Contains(answer, "sha256:") {
					t.Error(answer)
				}
				expect(t, "of this worker", h.latest.cfg.Limits[0].Quantity, 500)
			}
			status, answer = asked.send("DELETE", "/overrides?path=/limits/0/quantity", "")
			expect(t, fmt.Sprint("one taken back: ", status), overridesIn(t, answer), `{"statusCode":{"limits":430}}`)
			status, answer = asked.send("DELETE", "/overrides", "")
			expect(t, fmt.Sprint("all taken back: ", status), overridesIn(t, answer), `{}`)
			for _, h := range []*host{first, other} {
				h.now += clock.Moment(h.TickPeriod()) * millisecond
				expect(t, "ticks come often", h.TickPeriod() <= 250, true)
				h.tick()
				expect(t, "of the file", h.latest.cfg.Limits[0].Quantity, 300)
				expect(t, "of the file", h.latest.cfg.StatusCode.Limits, 429)
			}
		})
	}
}

func TestABadOverrideChangesNothing(t *testing.T) {
	h := workerOf(t, ofGateway(adminConfig("open")+","), recordtest.NewMemory(), 1)
	h.send("PATCH", "/overrides", `{"mode":"shadow"}`)
	_, before := h.send("GET", "/config?overrides", "")
	for _, c := range []struct {
		method, path, body string
		status             int
		says               string
	}{
		{"PATCH", "/overrides", `{"limits":{"x":{}},"upstreams":{"llm":{"queue":{"max":-1}}}}`, 422, `{"path":"upstreams[0].queue.max"`},
		{"PATCH", "/overrides", `{"limits":{"x":{}},"upstreams":{"llm":{"queue":{"max":-1}}}}`, 422, `{"path":"limits.x","message":"no such name; want u or r"}`},
		{"PATCH", "/overrides", `{"namespace":"other"}`, 422, `can't be changed while it runs`},
		{"PATCH", "/overrides", `{"admin":{"tokens":[]}}`, 422, `"path":"admin"`},
		{"PATCH", "/overrides", `not JSON`, 422, "invalid JSON"},
		{"PATCH", "/overrides", `{"limits":{"\"><script>":{}}}`, 422, `no such name`},
		{"PATCH", "/overrides", `{"a":"` + strings.Repeat("x", config.MostOverrides) + `"}`, 413, "65536"},
		{"DELETE", "/overrides?path=/limits/0/quantity", "", 404, "nothing is overridden there"},
		{"DELETE", "/overrides?path=", "", 404, "nothing is overridden there"},
		{"POST", "/overrides", `{}`, 405, "PATCH"},
	} {
		status, answer := h.send(c.method, c.path, c.body)
		if status != c.status || !strings.Contains(answer, c.says) || strings.ContainsAny(answer, "<>") {
			t.Errorf("%s %s %.60s: %d %s", c.method, c.path, c.body, status, answer)
		}
	}
	if _, after := h.send("GET", "/config?overrides", ""); after != before {
		t.Errorf("%s\nis now %s", before, after)
	}
	expect(t, "mode", h.latest.cfg.Mode, config.Shadow)
}

func TestAQueueIsNoSmallerThanWhatWaitsInIt(t *testing.T) {
	h := workerOf(t, ofGateway(adminConfig("open")+","), recordtest.NewMemory(), 1)
	for i := range 4 {
		h.ask(strconv.Itoa(i))
	}
	status, answer := h.send("PATCH", "/overrides", `{"upstreams":{"llm":{"queue":{"max":2}}}}`)
	if status != 409 || !strings.Contains(answer, `{"path":"upstreams[0].queue.max","message":"3 requests wait there`) {
		t.Errorf("%d %s", status, answer)
	}
	status, answer = h.send("PATCH", "/overrides", `{"upstreams":{"llm":{"queue":{"max":3}}}}`)
	expect(t, answer, status, 200)
	status, answer = h.send("PATCH", "/overrides", `{"upstreams":{"llm":{"queue":{"maxBytes":100}}}}`)
	if waits := strconv.Itoa(3*len(chatBody)) + " bytes wait there"; status != 409 || !strings.Contains(answer, `{"path":"upstreams[0].queue.maxBytes","message":"`+waits) {
		t.Errorf("%d %s", status, answer)
	}
	status, answer = h.send("PATCH", "/overrides", `{"upstreams":{"llm":{"queue":{"maxBytes":300}}}}`)
	expect(t, answer, status, 200)
	status, answer = h.send("PATCH", "/overrides", `{"mode":"off","upstreams":{"llm":{"queue":{"max":0}}}}`)
	expect(t, answer, status, 200)
	h.tick()
	_, answer = h.send("GET", "/config", "")
	if !strings.HasPrefix(answer, `{"namespace":"default","mode":"off"`) {
		t.Error(answer)
	}
	h.now += second
	h.tick()
	status, _ = h.send("DELETE", "/overrides", "")
	expect(t, "and on again, by the worker that is off", status, 200)
	expect(t, "mode", h.latest.cfg.Mode, config.Enforce)
}

func TestAFileThatOverridesDoNotFitWins(t *testing.T) {
	store := recordtest.NewMemory()
	h := workerOf(t, ofGateway(adminConfig("open")+","), store, 1)
	h.send("PATCH", "/overrides", `{"limits":{"u":{"quantity":500}}}`)
	same := workerOf(t, strings.Replace(ofGateway(adminConfig("open")+","), "1000", "2000", 1), store, 2)
	expect(t, "laid over another file", same.latest.cfg.Limits[0].Quantity, 500)
	expect(t, "the file's", same.latest.cfg.Limits[1].Quantity, 2000)
	text := strings.Replace(ofGateway(adminConfig("open")+","), `"u"`, `"w"`, 1)
	renamed := workerOf(t, text, store, 3)
	expect(t, "the file wins", renamed.latest.cfg.Limits[0].Quantity, 300)
	expect(t, "counted", renamed.counts["spillway_config_errors_total overrides"], 1)
	if len(renamed.notes) == 0 || !strings.Contains(renamed.notes[len(renamed.notes)-1], "limits.u: no such name; want w or r") {
		t.Errorf("%q", renamed.notes)
	}
	for _, path := range []string{"/config?overrides", "/status"} {
		if _, answer := renamed.send("GET", path, ""); !strings.Contains(answer, `limits.u: no such name; want w or r`) || !strings.Contains(answer, `"revision":0`) {
			t.Error(path, answer)
		}
	}
	renamed.now += second
	status, answer := renamed.send("PATCH", "/overrides", `{"limits":{"w":{"quantity":5}}}`)
	expect(t, answer, status, 422)
	status, answer = renamed.send("DELETE", "/overrides", "")
	expect(t, answer, status, 200)
	status, answer = renamed.send("PATCH", "/overrides", `{"limits":{"w":{"quantity":5}}}`)
	expect(t, answer, status, 200)
	expect(t, "in force", renamed.latest.cfg.Limits[0].Quantity, 5)
}

// TestAWorkerThatIsBehindKeepsWhatItHas: a later version's overrides, or garbage in the record, take nothing from it.
func TestAWorkerThatIsBehindKeepsWhatItHas(t *testing.T) {
	store := recordtest.NewMemory()
	h := workerOf(t, ofGateway(adminConfig("open")+","), store, 1)
	h.send("PATCH", "/overrides", `{"limits":{"u":{"quantity":500}}}`)
	shared := override.New(store, "default")
	if _, _, err := shared.Change(0, "", func(*override.Record) ([]byte, error) { return []byte(`{"later":{"than":"this"}}`), nil }); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		h.now += second
		h.tick()
	}
	expect(t, "in force", h.latest.cfg.Limits[0].Quantity, 500)
	expect(t, "is counted once", h.counts["spillway_config_errors_total overrides"], 1)
	if _, answer := h.send("GET", "/config?overrides", ""); !strings.Contains(answer, `"problem":"later: unknown key`) || !strings.Contains(answer, `"revision":1`) {
		t.Error(answer)
	}
	_, version, _, _ := store.Get("default/o1")
	if _, err := store.Put("default/o1", []byte("garbage"), version); err != nil {
		t.Fatal(err)
	}
	h.now += second
	h.tick()
	expect(t, "without a record, the file", h.latest.cfg.Limits[0].Quantity, 300)
}

// TestAThousandOverridesOfFourAdmins: none is lost, whoever they are sent to.
func TestAThousandOverridesOfFourAdmins(t *testing.T) {
	store := recordtest.NewMemory()
	var workers []*host
	for i := range 4 {
		workers = append(workers, workerOf(t, ofGateway(adminConfig("open")+","), store, byte(i)))
	}
	stream := workers[0].ask("alice")
	for i := range 1000 {
		h := workers[i%4]
		h.now += 10 * millisecond
		body := fmt.Sprintf(`{"models":{"aliases":{"m%d":"x"}},"limits":{"r":{"quantity":%d}}}`, i%100, 1000+i)
		if status, answer := h.send("PATCH", "/overrides", body); status != 200 {
			t.Fatalf("%d: %d %s", i, status, answer)
		}
	}
	stream.answer(used(9, 40))
	for _, h := range workers {
		h.now += second
		h.tick()
		expect(t, "the last one's", h.latest.cfg.Limits[1].Quantity, 1999)
		expect(t, "everybody's", len(h.latest.cfg.Models.Aliases), 100)
		h.Crowded()
		expect(t, "rules of earlier configurations", len(h.past), 0)
		if !strings.Contains(string(h.overrides.shown), `"revision":1000`) {
			t.Errorf("%s", h.overrides.shown)
		}
	}
}

// Who asks is told which revision how many workers go by: at once, when they do, and also when some can't.
func TestHowManyWorkersHaveAnOverride(t *testing.T) {
	store := recordtest.NewMemory()
	var all []*host
	for i := range 3 {
		all = append(all, workerOf(t, ofGateway(adminConfig("open")+","), store, byte(i+1)))
	}
	step := func(workers []*host, by clock.Moment) {
		for _, h := range all {
			h.now += by
		}
		for _, h := range workers {
			h.worker.served = true
			h.tick()
		}
	}
	says := func(want string) {
		t.Helper()
		all[0].surface.at = 0 // the snapshot is not what is tested
		for _, path := range []string{"/status", "/config?overrides"} {
			if _, answer := all[0].send("GET", path, ""); !strings.Contains(answer, `"workers":[`+want+`]`) {
				t.Errorf("%s: want %s: %s", path, want, answer)
			}
		}
	}
	for i, h := range all {
		h.worker.id = uint64(i + 1)
		h.beat.roster = roster.New(store, "default", uint64(i+1), uint64(i+1), counted)
	}
	step(all, second)
	says(`{"revision":0,"workers":3}`)
	all[0].send("PATCH", "/overrides", `{"limits":{"u":{"quantity":500}}}`)
	step(all[1:2], 250*millisecond)
	says(`{"revision":1,"workers":1},{"revision":0,"workers":2}`) // the one that was asked tells so with its next beat
	all[2].overrides.file = []byte(`{"limits":[{"name":"w","per":["user"],"unit":"completionTokens","quantity":300,"window":"1h"}]}`)
	step(all, second)
	says(`{"revision":1,"workers":2},{"revision":0,"workers":1,"refused":1}`)
	expect(t, "counted", all[2].counts["spillway_config_errors_total overrides"], 1)
	expect(t, "logged", strings.Contains(strings.Join(all[2].notes, ""), "limits.u: no such name"), true)
}

// A worker in which too many streams of earlier configurations run says that overrides wait, once, and has them as soon as it can.
func TestOverridesWaitForStreams(t *testing.T) {
	h := workerOf(t, ofGateway(adminConfig("open")+","), recordtest.NewMemory(), 1)
	var streams []*exchange
	for i := range mostRules + 1 {
		h.now += second
		h.send("PATCH", "/overrides", fmt.Sprintf(`{"limits":{"r":{"quantity":%d}}}`, 1000+i))
		x := h.start("ann", false)
		streams = append(streams, x)
	}
	h.now += second
	status, answer := h.send("PATCH", "/overrides", `{"limits":{"r":{"quantity":7777}}}`)
	if status != 200 || !strings.Contains(answer, `"problem":"streams of 100 earlier configurations`) || !strings.Contains(answer, `"revision":101,`) {
		t.Errorf("%d %s", status, answer)
	}
	for range 5 {
		h.now += second
		h.tick()
	}
	expect(t, "counted", h.counts["spillway_config_errors_total overrides"], 1)
	streams[0].done()
	h.now += second
	h.tick()
	expect(t, "in force", h.latest.cfg.Limits[1].Quantity, 7777)
	expect(t, "no problem", h.overrides.problem, "")
}

// Two gateways that share a namespace with different configurations are told of: at once by the status, and by a warning when it can't be a
// reload's doing any more.
func TestGatewaysThatShareANamespace(t *testing.T) {
	store := recordtest.NewMemory()
	one := workerOf(t, ofGateway(adminConfig("open")+","), store, 1)
	two := workerOf(t, ofGateway(adminConfig("open")+`,"mode":"shadow",`), store, 2)
	warned := func() int {
		return strings.Count(strings.Join(append(one.notes, two.notes...), "\n"), "different configurations share the namespace default")
	}
	pass := func(d clock.Moment, hosts ...*host) {
		for range d / second {
			for _, h := range hosts {
				h.now += second
				h.tick()
			}
		}
	}
	pass(14*60*second, one, two)
	if _, answer := one.send("GET", "/status", ""); !strings.Contains(answer, `"configurations":2`) {
		t.Error(answer)
	}
	expect(t, "warnings of what may be a reload", warned(), 0)
	pass(20*60*second, one, two)
	expect(t, "warnings, one of each", warned(), 2)
	two.now = one.now
	pass(2*60*second, one)
	if _, answer := one.send("GET", "/status", ""); !strings.Contains(answer, `"configurations":1`) {
		t.Error(answer)
	}
}
