package admit

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/spillway-proxy/spillway/filter/internal/admin"
	"github.com/spillway-proxy/spillway/filter/internal/record"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
	"github.com/spillway-proxy/spillway/filter/internal/roster"
)

const adminToken = "let me in"

func adminConfig(read string) string {
	sum := sha256.Sum256([]byte(adminToken))
	return `"admin":{"path":"/spillway","read":"` + read + `","tokens":["sha256:` + hex.EncodeToString(sum[:]) + `"]}`
}

// newAdminHost has everything that can stand in a request's way, shut, and an admin surface with a route that takes a body.
func newAdminHost(t fataler, hold string, store record.Store) *host {
	t.Helper()
	h := newHost(t, `{"requestHold":"`+hold+`","identity":{"missing":"reject"},"unknown":"reject",`+adminConfig("open")+`,
		"limits":[{"name":"r","unit":"requests","quantity":1,"window":"1h"},{"name":"u","per":["user"],"unit":"totalTokens","quantity":1,"window":"1h"}],
		"upstreams":[{"name":"x","budget":{"requests":1,"window":"1h"},"queue":{"max":1},"breaker":{"mode":"enforce"},"latency":{"mode":"enforce"},
			"throttle":{"mode":"enforce"},"pressure":{"mode":"enforce","onStale":"full"}}]}`, store)
	h.surface.server = admin.New(&h.Engine.cfg.Admin, append(h.endpoints(), admin.Route{Method: "PATCH", Pattern: "/echo", Access: admin.Changes, Body: true,
		Handle: func(r *admin.Request, a *admin.Answer) {
			if string(r.Body) == "panic" {
				_ = r.Names[len(r.Body)]
			}
			a.JSON(200, r.Body)
			a.Change = "all"
		}}))
	return h
}

// admin begins an admin request.
func (h *host) admin(method, path string, end bool, more ...[2]string) *exchange {
	return h.startWith(append([][2]string{{":method", method}, {":path", path}, {":authority", "proxy"}}, more...), end)
}

var withToken = [][2]string{{"authorization", "Bearer " + adminToken}, {"content-type", "application/json"}}

// get asks for something, and gives the status and what the JSON says.
func (h *host) get(t *testing.T, path string) (status int, body map[string]any) {
	t.Helper()
	x := h.admin("GET", path, true)
	if x.last.Action != Answer {
		t.Fatalf("%s isn't answered", path)
	}
	status = x.last.Reply.Status
	if err := json.Unmarshal(x.last.Reply.Body, &body); err != nil {
		t.Fatalf("%s: %q: %v", path, x.last.Reply.Body, err)
	}
	x.status("200", "application/json", false)
	x.response("{}", true)
	x.done()
	return status, body
}

// quiet checks that nothing is held of any request.
func (h *host) quiet() {
	h.Helper()
	if n := h.guard.holding.count + h.reserving.count + h.surface.uploading.count + len(h.owed) + h.draining.count; n > 0 {
		h.Errorf("%d requests are held", n)
	}
}

// The body of a change is kept back, and answered at its end, however it comes.
func TestAdminBody(t *testing.T) {
	for _, hold := range []string{"none", "stopIteration", "bufferFilter"} {
		h := newAdminHost(t, hold, recordtest.NewMemory())
		x := h.admin("PATCH", "/spillway/echo", false, withToken...)
		want := Hold
		if hold == "bufferFilter" {
			want = Continue
		}
		expect(t, hold+": the headers", x.last.Action, want)
		expect(t, hold+": a piece", x.body(`{"a":`, false).Action, Hold)
		expect(t, hold+": the end", x.body(`1}`, true).Action, Answer)
		expect(t, hold+": the answer", string(x.last.Reply.Body), `{"a":1}`)
		expect(t, hold+": what comes yet", x.body("x", true).Action, Hold)
		expect(t, hold+": its log", len(h.infos), 1)
		if !strings.Contains(h.infos[0], "PATCH /spillway/echo: all") {
			t.Errorf("logged %q", h.infos)
		}
		x.done()
		expect(t, hold+": memory of the answer", len(x.reply.Body), 0)

		x = h.admin("PATCH", "/spillway/echo", false, withToken...)
		x.body("{}", false)
		expect(t, hold+": trailers", x.RequestTrailers().Action, Answer)
		x.done()
		h.quiet()
	}
}

// Nothing is kept of a body that nobody with a token sends, and no more than MostBytes of any.
func TestAdminBodyBounds(t *testing.T) {
	h := newAdminHost(t, "stopIteration", recordtest.NewMemory())
	x := h.admin("PATCH", "/spillway/echo", false, [2]string{"content-type", "application/json"})
	expect(t, "without a token", x.last.Reply.Status, 401)
	x = h.admin("PATCH", "/spillway/echo", false, append(withToken, [2]string{"content-length", "10000000"})...)
	expect(t, "10 MB announced", x.last.Reply.Status, 413)
	x = h.admin("PATCH", "/spillway/echo", false, withToken...)
	piece := strings.Repeat("x", admin.MostBytes)
	expect(t, "as much as may be", x.body(piece, false).Action, Hold)
	expect(t, "and a byte", x.body("x", false).Action, Answer)
	expect(t, "its status", x.last.Reply.Status, 413)
	expect(t, "memory of the body", len(x.Stream.admin.request.Body), 0)
	x.done()
	h.quiet()
}

// A body that never comes is not waited for.
func TestAdminBodyNeverComes(t *testing.T) {
	h := newAdminHost(t, "none", recordtest.NewMemory())
	x := h.admin("PATCH", "/spillway/echo", false, withToken...)
	h.now = h.now.Add(uploadTime - 1)
	expect(t, "answers before", len(h.tick()), 0)
	h.now++
	expect(t, "the answer", h.tick()[&x.Stream], Answer)
	expect(t, "its status", x.reply.Status, 408)
	expect(t, "a late piece", x.body("{}", true).Action, Hold)
	x.done()
	gone := h.admin("PATCH", "/spillway/echo", false, withToken...)
	gone.done()
	h.now = h.now.Add(uploadTime)
	expect(t, "answers to a client that has left", len(h.tick()), 0)
	h.quiet()
}

// A fault of a handler's doesn't let the request through to the upstream.
func TestAdminFault(t *testing.T) {
	h := newAdminHost(t, "stopIteration", recordtest.NewMemory())
	x := h.admin("PATCH", "/spillway/echo", false, withToken...)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("there was no fault")
			}
			h.Fault(&x.Stream)
		}()
		x.body("panic", true)
	}()
	expect(t, "it must not go on", x.Kept(), true)
	expect(t, "the answer", h.tick()[&x.Stream], Answer)
	expect(t, "its status", x.reply.Status, 500)
	x.done()
	h.quiet()
}

// An admin request comes to no gate, whatever it is and however it goes: nothing is charged, counted, published or written but what tells that
// somebody asks.
func TestAdminTouchesNoGate(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		store := recordtest.NewMemory()
		h := newAdminHost(r, rapid.SampledFrom([]string{"none", "stopIteration", "bufferFilter"}).Draw(r, "hold"), store)
		keys, _ := store.Size()
		for range rapid.IntRange(1, 5).Draw(r, "requests") {
			method := rapid.SampledFrom([]string{"GET", "POST", "PATCH", "DELETE", "HEAD", "OPTIONS", "BREW"}).Draw(r, "method")
			path := "/spillway" + rapid.SampledFrom([]string{"", "/", "/status", "/readyz", "/echo", "/v1/chat/completions", "/../v1/chat/completions", "?a"}).Draw(r, "path")
			end := rapid.Bool().Draw(r, "end")
			x := h.admin(method, path, end, append(withToken, [2]string{"x-user-id", "a"}, [2]string{"x-priority", "urgent"})...)
			for !end && x.last.Action != Answer {
				end = rapid.Bool().Draw(r, "end of the body")
				if x.body(chatBody, end).Action == Continue {
					r.Fatalf("%s %s goes on", method, path)
				}
			}
			if x.last.Action != Answer {
				r.Fatalf("%s %s isn't answered: %d", method, path, x.last.Action)
			}
			if rapid.Bool().Draw(r, "the answer is seen") {
				x.status("200", "application/json", false)
				x.response(used(1, 1), true)
			}
			x.done()
		}
		if len(h.published) > 0 || h.requests() > 0 || h.reserving.count > 0 {
			r.Fatalf("published %v, counted %v", h.published, h.counts)
		}
		for name := range h.counts {
			r.Fatalf("%s is counted", name)
		}
		if now, _ := store.Size(); now > keys+1 { // when the first worker began
			r.Fatalf("%d records, where there were %d", now, keys)
		}
		h.quiet()
	})
}

// What the status says is so in all workers, and an admin listener says the same without gates of its own.
func TestStatus(t *testing.T) {
	store := recordtest.NewMemory()
	const gateway = `"requestHold":"stopIteration",` + seedLimits + `,"upstreams":[{"name":"x","budget":{"requests":100,"window":"1h"},"concurrency":{"max":1},
		"breaker":{"mode":"enforce"},"latency":{"mode":"shadow"}}]`
	text := `{` + gateway + `}`
	one, two := newHost(t, text, store), newHost(t, text, store)
	two.beat.roster = roster.New(store, "default", 2, 2, counted)
	one.Announce([]byte(text))
	listener := newHost(t, `{"mode":"off",`+adminConfig("open")+`}`, store)
	everybody := []*host{listener, one, two}
	pass := func() {
		for _, h := range everybody {
			h.now += second
			h.tick()
		}
	}
	pass()
	pass()
	one.ask("a").answer(used(10, 20))
	held := two.ask("b")
	waits := two.ask("c")
	expect(t, "it waits", waits.Waiting(), true)
	pass()
	status, body := listener.get(t, "/spillway/status")
	expect(t, "status", status, 200)
	text2, _ := json.Marshal(body)
	for _, want := range []string{`"ALLOWED":2`, `"completion":20`, `"total":30`, `"workers":2`, `"mode":"enforce"`, `"name":"u"`, `"inFlight":1`, `"normal":1`, `"state":"WAITING"`,
		`"requestsLeft":98`, `"version":""`, `"state":"CLOSED"`, `"overrides":{}`, `"uptimeSeconds":2`} {
		if !strings.Contains(string(text2), want) {
			t.Errorf("no %s in %s", want, text2)
		}
	}
	for _, key := range []string{"version", "uptimeSeconds", "workers", "mode", "requests", "tokens", "limits", "upstreams", "pressure", "overrides"} {
		if _, has := body[key]; !has {
			t.Errorf("no %s", key)
		}
	}
	code, ready := listener.get(t, "/spillway/readyz")
	expect(t, "ready", code, 200)
	expect(t, "ready", ready["status"].(string), "ok")
	held.answer(used(1, 1))
	waits.done()
	for _, h := range everybody {
		h.now += 6 * second
	}
	code, ready = listener.get(t, "/spillway/readyz")
	expect(t, "ready without workers", code, 503)
	if text, _ := json.Marshal(ready); !strings.Contains(string(text), `"reason":"workers"`) {
		t.Errorf("not ready: %s", text)
	}
}

// One snapshot serves all who ask within a second, and who has it already isn't sent it again.
func TestStatusIsCached(t *testing.T) {
	h := newAdminHost(t, "none", recordtest.NewMemory())
	first := h.admin("GET", "/spillway/status", true)
	tag := header(first.last.Reply.Headers, "etag")
	body := string(first.last.Reply.Body)
	h.now += second / 2
	again := h.admin("GET", "/spillway/status", true, [2]string{"if-none-match", tag})
	expect(t, "again", again.last.Reply.Status, 304)
	expect(t, "its body", len(again.last.Reply.Body), 0)
	expect(t, "the same", string(h.admin("GET", "/spillway/status", true).last.Reply.Body), body)
	h.now += second
	later := h.admin("GET", "/spillway/status", true, [2]string{"if-none-match", tag})
	expect(t, "later", later.last.Reply.Status, 200)
}

// The status tells the pressure of each server, as far as that is known.
func TestTheStatusHasThePressureOfEachServer(t *testing.T) {
	h := newHost(t, `{`+adminConfig("open")+`,"upstreams":[{"name":"up","pressure":{"mode":"enforce"}}]}`, recordtest.NewMemory())
	h.tick()
	h.Fetched(h.now, 200, []byte(`{"version":1,"instances":[{"activeDecodeBlocks":0.5,"activePrefillTokens":7,"ageSeconds":2},{"gpus":[{"memoryUsedBytes":3,"memoryTotalBytes":4}]}]}`))
	h.now += second
	h.tick()
	_, body := h.get(t, "/spillway/status")
	got, err := json.Marshal(body["pressure"].(map[string]any)["servers"])
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"activeDecodeBlocks":0.5,"activePrefillTokens":7,"ageSeconds":2,"gpuMemory":null},{"activeDecodeBlocks":null,"activePrefillTokens":null,"ageSeconds":0,"gpuMemory":0.75}]`
	expect(t, "the servers", string(got), want)
}
