package admit

import (
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

// What journeys come by: limits that none of them uses up, and gates that are open.
const (
	oneLimit    = `{"name":"u","per":["user"],"unit":"completionTokens","quantity":1000000000,"window":"1h"}`
	twoMore     = `,{"name":"v","per":["user"],"unit":"requests","quantity":1000000000,"window":"1m"},{"name":"w","per":["user"],"unit":"totalTokens","quantity":1000000000,"window":"24h"}`
	ofOthers    = `,{"name":"v","per":["tenant"],"unit":"requests","quantity":1000000000,"window":"1m"},{"name":"w","per":["model"],"unit":"totalTokens","quantity":1000000000,"window":"24h"}`
	ofHeaders   = `{"name":"u","per":["user"],"match":{"headers":{"user-agent":"b*"},"models":["m*"]},"unit":"completionTokens","quantity":1000000000,"window":"1h"}`
	allGates    = `"pressureSource":{"cluster":"gpu"},"upstreams":[{"name":"up","models":["mock"],"budget":{"requests":1000000,"tokens":1000000000},"concurrency":{"max":32},"retreat":{},` + gatesAlone + `}]`
	gatesAlone  = `"latency":{"mode":"enforce","ttft":"1s"},"throttle":{"mode":"enforce"},"breaker":{"mode":"enforce"},"pressure":{"mode":"enforce"}`
	threeLimits = oneLimit + twoMore
)

// journeys are requests of several kinds, each led from its headers to its end by one engine.
var journeys = []struct {
	name          string
	configuration string // without requestHold
	refused       string // the reason; "": it is served
	allocations   float64
}{
	{"no limit", ``, "", 0},
	{"one limit", `"limits":[` + oneLimit + `]`, "", 0},
	{"a limit of some headers", `"limits":[` + ofHeaders + `]`, "", 0},
	{"three limits", `"limits":[` + threeLimits + `]`, "", 0},
	{"three limits of three subjects", `"limits":[` + oneLimit + ofOthers + `]`, "", 0},
	{"all gates", allGates, "", 0},
	{"all gates, three limits", allGates + `,"limits":[` + threeLimits + `]`, "", 0},
	{"one limit of which little is left", `"limits":[{"name":"n","per":["user"],"unit":"requests","quantity":1000000000,"window":"1s","nearly":{"at":0.0000000001,"requestHeader":{"x-budget":"low"},"responseHeader":true}}]`, "", 0},
	{"refused by a limit of requests", `"limits":[{"name":"r","per":["user"],"unit":"requests","quantity":1,"window":"24h"}]`, "limits/requests_exceeded", 0},
	{"refused by a limit of tokens", `"limits":[{"name":"r","per":["user"],"unit":"totalTokens","quantity":1,"window":"24h"}]`, "limits/tokens_exceeded", 0},
}

// traveller leads requests through an engine, the host's part left out.
type traveller struct {
	*Engine
	proxy
	stream          Stream
	now             clock.Moment
	request, answer [][2]string
	body, piece     []byte
	pieces          int
	reason          string // why the last one was refused
}

func newTraveller(t fataler, configuration string, events bool) *traveller {
	t.Helper()
	if configuration = `{"requestHold":"stopIteration",` + configuration; strings.HasSuffix(configuration, ",") {
		configuration = strings.TrimSuffix(configuration, ",")
	}
	cfg, err := config.Parse([]byte(configuration + `}`))
	if err != nil {
		t.Fatal(err)
	}
	store := recordtest.NewMemory()
	store.InPlace = true
	v := &traveller{proxy: proxy{Store: store}, now: start, pieces: 1}
	if v.Engine, err = New(&cfg, &v.proxy, new(Worker), random); err != nil {
		t.Fatal(err)
	}
	if v.monitor != nil {
		v.Fetched(v.now, 200, []byte(`{"version":1,"instances":[{"activeDecodeBlocks":0.5,"activePrefillTokens":7}]}`))
	}
	v.settled()
	v.request = [][2]string{
		{":authority", "example.com"}, {":path", "/v1/chat/completions"}, {":method", "POST"}, {":scheme", "http"},
		{"user-agent", "bench"}, {"content-type", "application/json"}, {"x-user-id", "one"}, {"x-request-id", "1234"},
	}
	v.body = []byte(`{"model":"mock","max_tokens":100,"messages":[{"role":"user","content":"` + strings.Repeat("lorem ipsum ", 40) + `"}]}`)
	v.answer = [][2]string{{":status", "200"}, {"content-type", "application/json"}, {"server", "x"}, {"date", "today"}}
	v.piece = []byte(`{"id":"x","object":"chat.completion","model":"mock","choices":[{"index":0,"message":{"role":"assistant","content":"` +
		strings.Repeat("token ", 76) + `"},"finish_reason":"stop"}],"usage":{"prompt_tokens":26,"completion_tokens":76,"total_tokens":102}}`)
	if events {
		v.answer[1][1] = "text/event-stream"
		v.piece = []byte(`data: {"id":"x","object":"chat.completion.chunk","model":"mock","choices":[{"index":0,"delta":{"content":"token"},"finish_reason":null}]}` + "\n\n")
		v.pieces = 50
	}
	return v
}

// travel leads a request to its end, a millisecond after the one before.
func (v *traveller) travel() {
	v.now += 1e6
	v.stream.Reset(1)
	v.headers = v.request
	v.RequestHeaders(&v.stream, v.now, false)
	if !v.stream.Refused() {
		v.proxy.piece = v.body
		v.RequestBody(&v.stream, v.now, len(v.body), true)
	}
	if v.reason = ""; v.stream.Refused() {
		v.reason = header(v.stream.Reply().Headers, "x-spillway-reason")
	} else {
		v.headers, v.proxy.piece = v.answer, v.piece
		v.ResponseHeaders(&v.stream, v.now, false)
		for range v.pieces {
			v.ResponseBody(&v.stream, v.now, len(v.piece), false)
		}
		v.proxy.piece = nil
		v.ResponseBody(&v.stream, v.now, 0, true)
	}
	v.Done(&v.stream, v.now)
	v.settled()
}

// settled has all done that is to be done, which is the host's part.
func (v *traveller) settled() {
	for v.Next() != nil {
	}
}

// eachJourney goes through the journeys, each with an answer of either kind.
func eachJourney(do func(name, configuration, refused string, allocations float64, events bool)) {
	for _, j := range journeys {
		do(j.name+", JSON", j.configuration, j.refused, j.allocations, false)
		if j.refused == "" {
			do(j.name+", SSE of 50 events", j.configuration, j.refused, j.allocations, true)
		}
	}
}

// What a request allocates once the engine has served some like it must not rise, and is to be nothing.
func TestWhatARequestAllocates(t *testing.T) {
	eachJourney(func(name, configuration, refused string, allocations float64, events bool) {
		t.Run(name, func(t *testing.T) {
			v := newTraveller(t, configuration, events)
			for range 100 {
				v.travel()
			}
			if v.reason != refused {
				t.Fatalf("refused by %q, want %q", v.reason, refused)
			}
			const some = 100 // what is allocated once in a while counts, too
			if got := testing.AllocsPerRun(10, func() {
				for range some {
					v.travel()
					v.Tick(v.now)
					v.settled()
				}
			}) / some; got > allocations {
				t.Errorf("%v allocations, pinned are %v", got, allocations)
			}
		})
	})
}

// BenchmarkRequest leads one request through the engine, the host's part left out.
func BenchmarkRequest(b *testing.B) {
	eachJourney(func(name, configuration, _ string, _ float64, events bool) {
		b.Run(name, func(b *testing.B) {
			v := newTraveller(b, configuration, events)
			b.ReportAllocs()
			for b.Loop() {
				v.travel()
			}
		})
	})
}
