package admit

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
	"github.com/spillway-proxy/spillway/filter/internal/table"
)

// events leads streams through an engine in an order that is as wild as a host can make it.
type events struct {
	*host
	t    *rapid.T
	open []*exchange
	with map[*exchange][][2]string // the headers of each
	sent int64
}

var (
	wildHeaders = [][][2]string{
		{{":method", "POST"}, {":path", "/v1/chat/completions"}, {"x-user-id", "a"}},
		{{":method", "POST"}, {":path", "/v1/chat/completions"}, {"x-user-id", "b"}, {"content-length", "77"}},
		{{":method", "POST"}, {":path", "/v1/embeddings"}, {"x-user-id", "a"}, {"x-priority", "low"}},
		{{":method", "POST"}, {":path", "/v1/completions"}, {"content-encoding", "gzip"}, {"x-user-id", "b"}},
		{{":method", "POST"}, {":path", "/unknown"}, {"x-user-id", "a"}},
		{{":method", "GET"}, {":path", "/v1/models"}, {"x-user-id", "b"}},
		{{":method", "POST"}, {":path", "/v1/chat/completions"}, {"x-user-id", "a"}, {"x-user-id", "b"}},
		{{":method", "POST"}, {":path", "/v1/chat/completions"}, {"x-user-id", "a"}, {"expect", "100-continue"}},
		{{":method", "POST"}, {":path", "/v1/chat/completions"}, {"x-user-id", "b"}, {"upgrade", "websocket"}, {"connection", "upgrade"}},
		{{":method", "POST"}, {":path", "/v1/chat/completions"}, {"x-user-id", "a"}, {"content-length", "3000"}},
		{{":method", "POST"}, {":path", "/v1/chat/completions"}, {"x-user-id", "a"}, {"content-length", "0"}},
		{{"content-length", "-1"}},
		{},
	}
	wildBodies = []string{chatBody, chatBody[:40], chatBody[40:], `{"model":"big","stream":true}`, "garbage", "", string(make([]byte, 3000))}
	wildTypes  = []string{"application/json", "text/event-stream", ""}
	wildStatus = []string{"200", "200", "200", "400", "429", "500", "304", "x", ""}
	wildAnswer = []string{used(26, 76), usageEvent(), textEvent, textEvent[:30], textEvent[30:], doneEvent, "garbage", "", `{"usage":{"total_tokens":3}}`}
)

const wildLimits = `"usage":{"maxRequestBytes":2000},"limits":[
	{"name":"u","per":["user"],"unit":"totalTokens","quantity":100000,"window":"8760h"},
	{"name":"big","match":{"models":["big"]},"unit":"completionTokens","quantity":500,"window":"8760h","admission":"strict"},
	{"name":"r","unit":"requests","quantity":20,"window":"8760h"},
	{"name":"f","per":["user"],"unit":"inflight","quantity":3},{"name":"g","unit":"inflight","quantity":4}],
	"upstreams":[{"name":"big","models":["big"],"concurrency":{"max":1},"queue":{"max":2,"whenFull":"dropLowest"}},
		{"name":"rest","budget":{"requests":6,"tokens":5000,"window":"1m"},"queue":{"max":2,"maxWait":{"normal":"5s"}}}]`

// step lets one thing happen.
func (e *events) step() {
	pick := rapid.IntRange(0, 12).Draw(e.t, "event")
	if pick < 3 || len(e.open) == 0 {
		e.begin(rapid.SampledFrom(wildHeaders).Draw(e.t, "headers"))
		e.sent++
		return
	}
	if pick == 3 {
		e.now += clock.Moment(rapid.Int64Range(-second, int64(2*leasePeriod)).Draw(e.t, "time"))
		e.holdsBack = rapid.Bool().Draw(e.t, "the host keeps bodies back")
		e.tick()
		return
	}
	i := rapid.IntRange(0, len(e.open)-1).Draw(e.t, "stream")
	x := e.open[i]
	end := rapid.IntRange(0, 2).Draw(e.t, "end") == 0
	switch {
	case pick == 4:
		x.done()
		e.open = append(e.open[:i], e.open[i+1:]...)
	case pick == 12 && x.endedUnanswered(): // the host begins anew
		x.endLeg()
		e.open = append(e.open[:i], e.open[i+1:]...)
		e.begin(e.with[x])
	case x.Refused(): // the binding keeps everything else from the engine
	case pick < 7:
		x.body(rapid.SampledFrom(wildBodies).Draw(e.t, "body"), end)
	case pick == 7:
		x.RequestTrailers()
	case pick == 8:
		x.status(rapid.SampledFrom(wildStatus).Draw(e.t, "status"), rapid.SampledFrom(wildTypes).Draw(e.t, "type"), end)
	case pick < 11:
		x.response(rapid.SampledFrom(wildAnswer).Draw(e.t, "answer"), end)
	default:
		x.ResponseTrailers()
	}
}

func (e *events) begin(headers [][2]string) {
	x := e.startWith(headers, rapid.Bool().Draw(e.t, "end"))
	e.open = append(e.open, x)
	e.with[x] = headers
}

// uploads checks that nothing has a place that isn't complete.
func (e *events) uploads() {
	for _, x := range e.open {
		if x.upload.open && (x.ticket.InFlight() || x.ticket.Waiting() || x.tracked) {
			e.t.Fatal("an upload has a place at its upstream")
		}
	}
}

// TestAnyOrderOfEvents: nothing panics, each request is counted once, and when all have ended, nothing is reserved or held.
func TestAnyOrderOfEvents(t *testing.T) {
	for _, mode := range []string{"enforce", "shadow", "off"} {
		for _, hold := range []string{"stopIteration", "bufferFilter", "none"} {
			t.Run(mode+", "+hold, func(t *testing.T) {
				rapid.Check(t, func(t *rapid.T) {
					store := &watched{Memory: recordtest.NewMemory(), keys: map[string]bool{}}
					e := &events{t: t, with: map[*exchange][][2]string{}, host: newHost(t, `{"mode":"`+mode+`","requestHold":"`+hold+`",`+wildLimits+`}`, store)}
					for range rapid.IntRange(1, 80).Draw(t, "events") {
						e.step()
						e.uploads()
					}
					for _, x := range e.open {
						x.done()
					}
					e.tick() // what has changed is told
					e.idle()
					for _, upstream := range []string{"big", "rest"} {
						if n := e.gauges["inflight "+upstream]; n != 0 {
							t.Fatalf("%d requests are in flight for ever", n)
						}
					}
					if got := e.requests(); got != e.sent {
						t.Fatalf("%d requests counted, %d sent: %v", got, e.sent, e.counts)
					}
					if reserved := store.reserved(); reserved != "" {
						t.Fatal(reserved)
					}
				})
			})
		}
	}
}

// watched is a store that knows its keys.
type watched struct {
	*recordtest.Memory
	keys map[string]bool
}

func (w *watched) Put(key string, value []byte, version uint32) (bool, error) {
	w.keys[strings.Clone(key)] = true
	return w.Memory.Put(key, value, version)
}

// reserved says which page still holds a reservation, as package table lays pages out.
func (w *watched) reserved() string {
	const header, reservations = 8, 24
	for key := range w.keys {
		value, _, _, _ := w.Memory.Get(key)
		if len(value) < header || (len(value)-header)%table.RecordSize != 0 {
			continue // the hash key
		}
		for at := header; at < len(value); at += table.RecordSize {
			if r := value[at+reservations : at+reservations+8]; string(r) != string(make([]byte, 8)) {
				return fmt.Sprintf("page %s still reserves % x", key, r)
			}
		}
	}
	return ""
}
