package admit

import (
	"strconv"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

var holds = []string{"stopIteration", "bufferFilter", "none"}

// gzip, forms and bodies beyond what is read are the kinds of bodies that nothing is read of.
var uploads = []struct {
	name, path string
	headers    [][2]string
	size       int
}{
	{"read", "/v1/chat/completions", nil, 300},
	{"announced", "/v1/chat/completions", [][2]string{{"content-length", "300"}}, 300},
	{"encoded", "/v1/chat/completions", [][2]string{{"content-encoding", "gzip"}}, 300},
	{"encoded, announced", "/v1/chat/completions", [][2]string{{"content-encoding", "gzip"}, {"content-length", "300"}}, 300},
	{"a form", "/v1/audio/transcriptions", [][2]string{{"content-type", "multipart/form-data; boundary=x"}}, 300},
	{"too long", "/v1/chat/completions", nil, 3000},
	{"too long, announced", "/v1/chat/completions", [][2]string{{"content-length", "3000"}}, 3000},
	{"model in the path", "/v1beta/models/mock:generateContent", nil, 300},
}

const smallBodies = `"usage":{"maxRequestBytes":1000},`

// begin sends all of an upload but its last byte, in pieces.
func (h *host) begin(t *testing.T, i int) *exchange {
	u := uploads[i]
	headers := [][2]string{{":method", "POST"}, {":path", u.path}, {"x-user-id", "slow"}}
	x := h.startWith(append(headers, u.headers...), false)
	text := `{"model":"mock","x":"` + strings.Repeat("x", u.size)
	if u.path == "/v1/audio/transcriptions" {
		text = "--x" + text
	}
	text = text[:u.size-1]
	for len(text) > 0 {
		n := min(400, len(text))
		x.body(text[:n], false)
		text = text[n:]
	}
	if x.Refused() || x.Waiting() || x.InFlight() {
		t.Fatalf("%s: it has a place before it is complete", u.name)
	}
	return x
}

// InFlight says that the request has a slot.
func (x *exchange) InFlight() bool { return x.ticket.InFlight() }

// What others wait for is taken when a body is complete: however it is sent, whatever it is, however it is held.
func TestASlowUploadHasNoPlace(t *testing.T) {
	for _, hold := range holds {
		for i, u := range uploads {
			t.Run(hold+", "+u.name, func(t *testing.T) {
				h := newHostOf(t, hold, smallBodies+`"upstreams":[{"name":"llm","concurrency":{"max":1},"budget":{"requests":2,"window":"24h"},"queue":{"max":1}}]`)
				slow := []*exchange{h.begin(t, i), h.begin(t, i), h.begin(t, i)}
				honest := h.ask("honest")
				expect(t, "an honest one goes", honest.InFlight(), true)
				last := slow[0].body(`}`, true)
				expect(t, "the end is kept back", last.Action, Hold)
				expect(t, "it waits", slow[0].Waiting(), true)
				honest.answer(used(9, 40))
				expect(t, "it has the slot", slow[0].InFlight(), true)
				slow[1].done()
				slow[2].body("", false)
				expect(t, "decided by nobody", slow[2].Waiting(), false)
				expect(t, "trailers are an end, too", slow[2].RequestTrailers().Action, Hold)
				slow[0].answer(used(9, 40))
				slow[2].done()
				h.tick()
				h.idle()
				expect(t, "requests", h.requests(), 4)
			})
		}
	}
}

// A breaker's probe is not taken by an upload.
func TestASlowUploadHasNoProbe(t *testing.T) {
	for _, hold := range holds {
		for i, u := range uploads {
			t.Run(hold+", "+u.name, func(t *testing.T) {
				h := newHostOf(t, hold, smallBodies+`"upstreams":[{"name":"llm","breaker":{"mode":"enforce","minRequests":1,"openFor":"10s"}}]`)
				broken := h.ask("honest")
				broken.status("500", "application/json", true)
				broken.done()
				expect(t, "open", h.ask("honest").Refused(), true)
				h.now += 11 * second
				slow := h.begin(t, i)
				probe := h.ask("honest")
				expect(t, "an honest one is the probe", probe.Refused(), false)
				probe.answer(used(9, 40))
				expect(t, "and closes it", slow.body("}", true).Action, Continue)
				slow.answer(used(9, 40))
			})
		}
	}
}

// The upstream sees nothing of what waits, where the host can hold it and its buffer takes it; never the end.
func TestWhatFlowsOfAnUpload(t *testing.T) {
	const governed = smallBodies + `"upstreams":[{"name":"llm","concurrency":{"max":1}}]`
	for _, hold := range holds {
		for i, u := range uploads {
			h := newHostOf(t, hold, governed)
			headers := [][2]string{{":method", "POST"}, {":path", u.path}, {"x-user-id", "slow"}}
			x := h.startWith(append(headers, u.headers...), false)
			fits := u.size <= 1000 || hold == "bufferFilter"
			want := Continue
			if hold == "stopIteration" && (fits || len(u.headers) == 0) {
				want = Hold
			}
			expect(t, hold+", "+u.name+": headers", x.last.Action, want)
			x.done()
			x = h.begin(t, i)
			want = Continue
			if fits {
				want = Hold
			}
			expect(t, hold+", "+u.name+": the last piece but one", x.last.Action, want)
			x.done()
		}
	}
}

// A server may not wait for the end of what it has. It needs a place all the same: its answer is stopped if there is none.
func TestAnUpstreamThatDoesNotWaitForTheEnd(t *testing.T) {
	const governed = smallBodies + `"limits":[{"name":"u","per":["user"],"unit":"completionTokens","quantity":10000,"window":"8760h"}],"upstreams":[{"name":"llm","concurrency":{"max":1}}]`
	for _, hold := range []string{"stopIteration", "none"} {
		h := newHostOf(t, hold, governed)
		first, second := h.begin(t, 5), h.begin(t, 5)
		expect(t, hold+": the first answer", first.status("200", "application/json", false).Action, Continue)
		expect(t, hold+": takes the slot", first.InFlight(), true)
		stopped := second.status("200", "application/json", false)
		expect(t, hold+": the second answer", stopped.Action, Answer)
		expect(t, hold+": reason", header(stopped.Reply.Headers, "x-spillway-reason"), "queue/shed")
		second.done()
		first.body("}", true)
		first.response(used(9, 40), true)
		first.done()
		expect(t, hold+": charged", h.balance("slow"), 10000-40)
		wrong := h.begin(t, 5)
		expect(t, hold+": an error needs no place", wrong.status("413", "text/plain", true).Action, Continue)
		wrong.done()
		h.tick()
		h.idle()
		expect(t, hold+": requests", h.requests(), 3)
	}
}

// Some servers begin when they have as much as was announced.
func TestTheLastPieceOfAnAnnouncedBodyIsKeptBack(t *testing.T) {
	for _, hold := range holds {
		h := newHostOf(t, hold, smallBodies+`"upstreams":[{"name":"llm","concurrency":{"max":1}}]`)
		busy := h.ask("busy")
		x := h.begin(t, 6)
		expect(t, hold+": the last piece", x.body("}", false).Action, Hold)
		expect(t, hold+": its end", x.body("", true).Action, Hold)
		busy.answer(used(9, 40))
		expect(t, hold+": let go", h.others[&x.Stream], "")
		x.answer(used(9, 40))
		h.tick()
		h.idle()
	}
}

// An upload that has begun is not an unbounded reason to keep memory. What the buffer filter keeps is its own business.
func TestNoMoreIsKeptBackThanIsRead(t *testing.T) {
	for _, hold := range []string{"stopIteration", "none"} {
		h := newHost(t, `{"requestHold":"`+hold+`",`+smallBodies+`"upstreams":[{"name":"llm","models":["m*"],"concurrency":{"max":1}}]}`, recordtest.NewMemory())
		for _, headers := range [][][2]string{nil, {{"content-encoding", "gzip"}}, {{"content-length", strconv.Itoa(1 << 30)}}} {
			x := h.start("alice", false, headers...)
			kept := 0
			for range 100 {
				if x.body(strings.Repeat(" ", 100), false).Action == Hold {
					kept += 100
				}
			}
			if kept > 1000 {
				t.Errorf("%s %v: %d bytes are kept back", hold, headers, kept)
			}
			x.done()
		}
		h.tick()
		h.idle()
	}
}

// A client that waits for a word before its body must not be kept waiting by us, nor be let off.
func TestAClientThatExpectsAWord(t *testing.T) {
	for _, test := range []struct {
		values                    []string
		stopIteration, bufferKept EffectKind
	}{
		{[]string{"100-continue"}, Continue, Answer},
		{[]string{"100-Continue"}, Continue, Answer},
		{[]string{"100-continue, 100-continue"}, Answer, Answer},
		{[]string{"something, 100-CONTINUE"}, Answer, Answer},
		{[]string{"100-continue", "100-continue"}, Answer, Answer},
		{[]string{"something"}, Hold, Continue},
		{nil, Hold, Continue},
	} {
		var headers [][2]string
		for _, value := range test.values {
			headers = append(headers, [2]string{"expect", value})
		}
		h := newHostOf(t, "stopIteration", oneSlot)
		busy, x := h.ask("busy"), h.start("alice", false, headers...)
		expect(t, strings.Join(test.values, "; "), x.last.Action, test.stopIteration)
		if test.stopIteration == Continue {
			expect(t, "the body waits", x.body(chatBody, true).Action, Hold)
		}
		if test.stopIteration == Answer {
			expect(t, "status", x.last.Reply.Status, 417)
		}
		x.done()
		busy.done()
		h = newHostOf(t, "bufferFilter", oneSlot)
		expect(t, "bufferFilter, "+strings.Join(test.values, "; "), h.start("alice", false, headers...).last.Action, test.bufferKept)
		h = newHost(t, `{"mode":"shadow","requestHold":"bufferFilter",`+oneSlot+`}`, recordtest.NewMemory())
		expect(t, "shadow", h.start("alice", false, headers...).last.Action, Continue)
	}
	h := newHostOf(t, "stopIteration", oneSlot)
	expect(t, "another protocol", h.start("alice", false, [2]string{"upgrade", "websocket"}, [2]string{"connection", "Upgrade"}).last.Action, Continue)
}
