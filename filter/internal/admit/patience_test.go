package admit

import (
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

// What a request says of how long it is willing to wait, and what that comes to.
func TestPatienceAsItIsWritten(t *testing.T) {
	const unreadable = time.Duration(-2)
	queue := func(v string) [2]string { return [2]string{queueHeader, v} }
	most := func(v string) [2]string { return [2]string{maxWaitHeader, v} }
	for _, test := range []struct {
		headers [][2]string
		want    time.Duration
	}{
		{nil, 0},
		{[][2]string{queue("no")}, unwilling},
		{[][2]string{queue(" NO\t")}, unwilling},
		{[][2]string{queue("yes")}, 0},
		{[][2]string{queue("")}, 0},
		{[][2]string{queue("maybe")}, unreadable},
		{[][2]string{queue("0")}, unreadable},
		{[][2]string{queue("false")}, unreadable},
		{[][2]string{most("500")}, 500 * time.Millisecond},
		{[][2]string{most("500ms")}, 500 * time.Millisecond},
		{[][2]string{most("1500ms")}, 1500 * time.Millisecond},
		{[][2]string{most("1.5s")}, unreadable},
		{[][2]string{most("ms")}, unreadable},
		{[][2]string{most("s")}, unreadable},
		{[][2]string{most("2S")}, unreadable},
		{[][2]string{most("1h")}, time.Hour},
		{[][2]string{most("3m")}, 3 * time.Minute},
		{[][2]string{most(" 2s ")}, 2 * time.Second},
		{[][2]string{most("1m30s")}, unreadable},
		{[][2]string{most("0")}, unwilling},
		{[][2]string{most("0s")}, unwilling},
		{[][2]string{most("-0")}, unwilling},
		{[][2]string{most("100us")}, unreadable},
		{[][2]string{most("3600001")}, time.Hour},
		{[][2]string{most("9223372036854775807")}, time.Hour},
		{[][2]string{most("9223372036854775808")}, unreadable},
		{[][2]string{most("2000000h")}, time.Hour},
		{[][2]string{most("9999999999999h")}, time.Hour},
		{[][2]string{most("-1")}, unreadable},
		{[][2]string{most("-1ms")}, unreadable},
		{[][2]string{most("soon")}, unreadable},
		{[][2]string{most(" \t")}, 0},
		{[][2]string{most("-5000000000000000000")}, unreadable},
		{[][2]string{most("1e3")}, unreadable},
		{[][2]string{most("0x10")}, unreadable},
		{[][2]string{most("500 ms")}, unreadable},
		{[][2]string{most("NaN")}, unreadable},
		{[][2]string{most("٥٠٠")}, unreadable},
		{[][2]string{most("５００")}, unreadable},
		{[][2]string{most("\x00500")}, unreadable},
		{[][2]string{most(strings.Repeat("9", 8000))}, unreadable},
		// Of several the shortest, whoever added which.
		{[][2]string{most("500"), most("200"), most("2s")}, 200 * time.Millisecond},
		{[][2]string{most("500, 200 ,2s")}, 200 * time.Millisecond},
		{[][2]string{most("500"), most("0")}, unwilling},
		{[][2]string{most("500"), most("")}, 500 * time.Millisecond},
		{[][2]string{most("500"), most("x")}, unreadable},
		{[][2]string{most("500,x")}, unreadable},
		{[][2]string{queue("yes"), queue("no")}, unwilling},
		{[][2]string{queue("no"), queue("yes")}, unwilling},
		{[][2]string{queue("no"), most("2s")}, unwilling},
		{[][2]string{queue("yes"), most("2s")}, 2 * time.Second},
		{[][2]string{queue("no"), most("x")}, unreadable},
	} {
		h := newHost(t, `{"requestHold":"stopIteration","upstreams":[{"name":"x","concurrency":{"max":1}}]}`, recordtest.NewMemory())
		x := h.start("ann", false, test.headers...)
		if test.want == unreadable {
			expect(t, header(test.headers, queueHeader)+header(test.headers, maxWaitHeader)+": refused", x.Refused(), true)
			expect(t, "status", x.reply.Status, 400)
			expect(t, "reason", header(x.reply.Headers, "x-spillway-reason"), "request/unreadable_wait")
			expect(t, "no use in trying again", header(x.reply.Headers, "x-should-retry"), "false")
			expect(t, "counted", h.counts["requests REJECTED request NORMAL other"], 1)
			continue
		}
		if x.Refused() || x.patience != test.want {
			t.Errorf("%q: %v, refused %v; want %v", test.headers, x.patience, x.Refused(), test.want)
		}
		var hidden []string
		for _, asked := range x.last.Asked {
			expect(t, asked[0]+" is taken out", asked[1], "")
			hidden = append(hidden, asked[0])
		}
		for _, name := range []string{queueHeader, maxWaitHeader} {
			said := false
			for _, each := range test.headers {
				said = said || each[0] == name
			}
			expect(t, name+" is hidden", strings.Contains(strings.Join(hidden, " "), name), said)
		}
	}
}

// Where nothing can have to wait, or the host passes everything, the words are nobody's business; and they may be forwarded as the priority is.
func TestPatienceWhereNobodyAsks(t *testing.T) {
	for _, configuration := range []string{
		`{}`, `{"upstreams":[{"name":"x","latency":{"mode":"enforce"}}]}`, `{"mode":"off","upstreams":[{"name":"x","concurrency":{"max":1}}]}`,
		`{"priority":{"forward":true},"upstreams":[{"name":"x","concurrency":{"max":1}}]}`,
	} {
		h := newHost(t, configuration, recordtest.NewMemory())
		word := "never mind"
		if strings.Contains(configuration, "forward") {
			word = "500"
		}
		x := h.start("ann", false, [2]string{maxWaitHeader, word})
		expect(t, configuration+": refused", x.Refused(), false)
		for _, asked := range x.last.Asked {
			if asked[0] == maxWaitHeader {
				t.Errorf("%s: it is taken out", configuration)
			}
		}
	}
	h := newHost(t, `{"upstreams":[{"name":"x","concurrency":{"max":1}}]}`, recordtest.NewMemory())
	x := h.startWith([][2]string{{":method", "GET"}, {":path", "/"}, {maxWaitHeader, "never mind"}}, true)
	expect(t, "what is no request to a model", x.Refused(), false)
}

// One that declines to wait is told when to come back, in its API's words, and nothing of it stays; one that waits goes when it said.
func TestPatienceAtTheQueue(t *testing.T) {
	h := newHost(t, `{"requestHold":"stopIteration",`+seedLimits+`,"upstreams":[{"name":"x","concurrency":{"max":1}}]}`, recordtest.NewMemory())
	declines := h.start("ann", false, [2]string{queueHeader, "no"})
	declines.body(chatBody, true)
	expect(t, "there is room", declines.phase, stSent)
	before := h.balance("bob")
	for range 100 {
		x := h.start("bob", false, [2]string{maxWaitHeader, "0"})
		x.body(chatBody, true)
		expect(t, "refused at once", x.Refused(), true)
		expect(t, "status", x.reply.Status, 429)
		expect(t, "reason", header(x.reply.Headers, "x-spillway-reason"), "queue/no_wait")
		expect(t, "retry-after", header(x.reply.Headers, "retry-after"), "1")
		if body := string(x.reply.Body); !strings.Contains(body, "There is no room at upstream x now, and the request asks not to wait. Please try again in 1s.") {
			t.Fatal(body)
		}
		x.done()
	}
	expect(t, "charged", h.balance("bob"), before)
	x := h.start("bob", false, [2]string{maxWaitHeader, "200ms"})
	x.body(chatBody, true)
	expect(t, "it waits", x.Waiting(), true)
	h.now += 190 * millisecond
	h.tick()
	expect(t, "in time", x.Waiting(), true)
	h.now += 10 * millisecond
	h.tick()
	expect(t, "refused", header(x.reply.Headers, "x-spillway-reason"), "queue/max_wait")
	if body := string(x.reply.Body); !strings.Contains(body, "Waited 200ms for upstream x, as long as the request asks to.") {
		t.Error(body)
	}
	x.done()
	expect(t, "charged", h.balance("bob"), before)
	declines.answer(used(1, 1))
	h.tick()
	h.idle()
}

// In shadow mode all pass, and the record says why they would not.
func TestPatienceInShadow(t *testing.T) {
	h := newHost(t, `{"mode":"shadow","requestHold":"stopIteration","upstreams":[{"name":"x","concurrency":{"max":1}}]}`, recordtest.NewMemory())
	for i, test := range []struct{ name, value, reason string }{
		{queueHeader, "no", ""}, {queueHeader, "no", gate.NoWait}, {maxWaitHeader, "2s", gate.WouldWait}, {maxWaitHeader, "later", gate.Patience},
	} {
		x := h.start("ann", false, [2]string{test.name, test.value})
		x.body(chatBody, true)
		expect(t, "sent", x.phase, stSent)
		expect(t, test.value+": reason", x.decision.Reason, test.reason)
		if i > 0 {
			expect(t, test.value+": outcome", x.decision.Outcome, gate.Shadowed)
		}
	}
}

// A request that the proxy begins anew, by a redirect, is as impatient as it was, though its headers were taken out.
func TestPatienceOfALaterLeg(t *testing.T) {
	h := newHost(t, `{"requestHold":"stopIteration","upstreams":[{"name":"x","concurrency":{"max":1}}]}`, recordtest.NewMemory())
	x := h.start("alice", false, [2]string{queueHeader, "no"})
	x.body(chatBody, true)
	next := x.redirected()
	expect(t, "patience", next.patience, unwilling)
}
