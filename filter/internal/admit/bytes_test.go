package admit

import (
	"strconv"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

// chatOf is a request's body of so many bytes.
func chatOf(size int) string {
	const before, after = `{"model":"mock","max_tokens":100,"messages":[{"role":"user","content":"`, `"}]}`
	return before + strings.Repeat("x", size-len(before)-len(after)) + after
}

// What counts as kept back is what is, in the way in which the host holds requests: a body that is too large to be read goes on but for its last piece,
// unless the host's buffer keeps it.
func TestBytesThatAreKeptBack(t *testing.T) {
	const most, piece = 4096, 1000
	for _, test := range []struct {
		hold string
		size int
		want int64
	}{
		{"stopIteration", 3000, 3000}, {"none", 3000, 3000}, {"bufferFilter", 3000, 3000},
		{"stopIteration", 10_000, piece}, {"none", 10_000, piece}, {"bufferFilter", 10_000, 10_000},
	} {
		for _, announced := range []bool{false, true} {
			h := newHost(t, `{"requestHold":"`+test.hold+`","usage":{"maxRequestBytes":`+strconv.Itoa(most)+`},"upstreams":[{"name":"x","concurrency":{"max":1}}]}`,
				recordtest.NewMemory())
			h.ask("ann")
			var headers [][2]string
			if announced {
				headers = [][2]string{{"content-length", strconv.Itoa(test.size)}}
			}
			x := h.start("bob", false, headers...)
			text := chatOf(test.size)
			for len(text) > 0 {
				n := min(piece, len(text))
				x.body(text[:n], n == len(text))
				text = text[n:]
			}
			if got := x.ticket.Bytes; !x.Waiting() || got != test.want {
				t.Errorf("%s, %d bytes, announced %v: waits %v with %d bytes, want %d", test.hold, test.size, announced, x.Waiting(), got, test.want)
			}
			h.now += second
			h.tick()
			expect(t, "metric", h.gauges["spillway_queue_bytes x"], test.want)
			x.done()
			h.tick()
			h.now += second
			h.tick()
			expect(t, "metric when it has left", h.gauges["spillway_queue_bytes x"], 0)
		}
	}
}

// Who announces a large body, or sends one slowly, takes no room of others before it is complete; what has no room is refused in the API's words.
func TestUploadsTakeNoRoom(t *testing.T) {
	h := newHost(t, `{"requestHold":"stopIteration","upstreams":[{"name":"x","concurrency":{"max":1},"queue":{"max":10,"maxBytes":20000}}]}`, recordtest.NewMemory())
	busy := h.ask("ann")
	var slow []*exchange
	for range 50 {
		x := h.start("eve", false, [2]string{"content-length", "1000000"})
		x.body(chatOf(900_000)[:9000], false)
		slow = append(slow, x, h.start("eve", false, [2]string{"content-length", "1000000000000000000"}))
	}
	waits := h.start("bob", false)
	waits.body(chatOf(9000), true)
	expect(t, "it waits", waits.Waiting(), true)
	for _, test := range []struct {
		size   int
		status int
		reason string
		says   string
		retry  string
	}{
		{5000, 503, "queue/full_bytes", "The queue for upstream x is full: too many bytes wait there for a body of this size. Please try again in ", ""},
		{12_000, 413, "queue/request_too_large", "The body is too large to wait for upstream x: 12000 bytes, where bodies of up to 10000 can. Send less.", "false"},
	} {
		x := h.start("bob", false)
		x.body(chatOf(test.size), true)
		expect(t, "refused", x.Refused(), true)
		expect(t, "status", x.reply.Status, test.status)
		expect(t, "reason", header(x.reply.Headers, "x-spillway-reason"), test.reason)
		expect(t, test.reason+": x-should-retry", header(x.reply.Headers, "x-should-retry"), test.retry)
		if body := string(x.reply.Body); !strings.Contains(body, test.says) {
			t.Error(body)
		}
		x.done()
	}
	small := h.ask("carol")
	expect(t, "a small one waits", small.Waiting(), true)
	for _, x := range slow {
		x.done()
	}
	busy.answer(used(1, 1))
	h.tick()
	waits.answer(used(1, 1))
	h.tick()
	small.answer(used(1, 1))
	large := h.start("bob", false)
	large.body(chatOf(500_000), true)
	expect(t, "what needn't wait goes, however large", large.phase, stSent)
	large.answer(used(1, 1))
	h.tick()
	h.idle()
}

// The admin surface shows how many bytes wait, and may.
func TestBytesInTheStatus(t *testing.T) {
	h := workerOf(t, ofGateway(adminConfig("open")+","), recordtest.NewMemory(), 1)
	h.ask("ann")
	h.ask("bob")
	h.tick()
	_, answer := h.send("GET", "/status", "")
	if want := `"bytes":` + strconv.Itoa(len(chatBody)) + `,"maxBytes":268435456`; !strings.Contains(answer, want) {
		t.Errorf("%s\nlacks %s", answer, want)
	}
}
