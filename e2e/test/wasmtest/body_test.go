package wasmtest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/wasmhost"
)

// sendInPieces sends a request's body in pieces of a size, and ends it: with the last piece or, if trailers are given,
// with those.
func sendInPieces(s *wasmhost.Stream, body string, size int, trailers [][2]string) {
	for piece := range slices.Chunk([]byte(body), size) {
		body = body[len(piece):]
		s.RequestBody(piece, body == "" && trailers == nil)
	}
	if trailers != nil {
		s.RequestTrailers(trailers)
	}
}

func TestABodyInPiecesIsReadOnceAndPassedOnWhole(t *testing.T) {
	for _, h := range holds {
		for _, size := range []int{1, 7, 1000} {
			for _, end := range []string{"with the last piece", "apart", "by trailers"} {
				for _, match := range []string{"", `"match":{"models":["llama-*"]}`} {
					t.Run(fmt.Sprintf("%s, pieces of %d, ended %s, %s", h.name, size, end, match), func(t *testing.T) {
						options := h.host
						options.SeparateEndOfStream = end == "apart"
						var trailers [][2]string
						if end == "by trailers" {
							trailers = [][2]string{{"x-checksum", "1"}}
						}
						more := []string{match}
						if match == "" {
							more = nil
						}
						p, vm := start(t, options, held(h.name, limitOf("completionTokens", 300, more...)))
						s := request{user: "ann"}.open(vm)
						sendInPieces(s, question, size, trailers)
						check(t, "upstream body", string(s.UpstreamBody), question)
						check(t, "upstream end", s.UpstreamEnd, true)
						check(t, "trailers", len(s.UpstreamTrailers), len(trailers))
						check(t, "model", s.FilterState["wasm.gen_ai.request.model"], "llama-3-8b")
						check(t, "paused", s.Paused(), false)
						answer(s, completion(76))
						check(t, "status", s.ClientStatus, "200")
						check(t, "requests counted", p.requests(), 1)
						check(t, "by model", p.Counter("spillway_requests_total;decision=ALLOWED;gate=none;priority=NORMAL;model=llama-3-8b"), 1)
					})
				}
			}
		}
	}
}

func TestABodyTooLargeToReadIsHeldNoLongerAndPassesWhole(t *testing.T) {
	for _, h := range holds {
		t.Run(h.name, func(t *testing.T) {
			config := held(h.name, limitOf("completionTokens", 300))
			_, vm := start(t, h.host, `{"usage":{"maxRequestBytes":1000},`+config[1:])
			body := `{"model":"llama-3-8b","padding":"` + strings.Repeat("x", 5000) + `"}`
			s := request{user: "ann"}.open(vm)
			sendInPieces(s, body, 100, nil)
			check(t, "upstream body", string(s.UpstreamBody), body)
			answer(s, completion(76))
			check(t, "model, which was found before", s.FilterState["wasm.gen_ai.request.model"], "llama-3-8b")
			check(t, "tokens", s.FilterState["wasm.gen_ai.completion.tokens"], "76")
		})
	}
}

func TestABodyBeyondTheHostsBufferIsAnsweredByTheHostAndCountedOnce(t *testing.T) {
	options := stopIteration
	options.BufferLimit = 200
	p, vm := start(t, options, limitOf("completionTokens", 300))
	s := request{user: "ann"}.open(vm)
	sendInPieces(s, strings.Repeat(" ", 500), 50, nil)
	check(t, "status", s.ClientStatus, "413")
	check(t, "the upstream saw it", s.ForwardedHeaders, false)
	check(t, "requests counted", p.requests(), 1)
	check(t, "said", p.Counter("spillway_uncharged_total;reason=answered_early"), 1)
	check(t, "status of the next", request{user: "ann"}.ask(vm).ClientStatus, "200")
}

func TestAnUpstreamMayAnswerBeforeTheBodyIsComplete(t *testing.T) {
	for _, match := range []string{`"match":{}`, `"match":{"models":["llama-*"]}`} {
		t.Run(match, func(t *testing.T) {
			p, vm := start(t, plainHost, held("none", limitOf("completionTokens", 300, match)))
			s := request{user: "ann"}.open(vm)
			s.RequestBody([]byte(question[:10]), false)
			s.ResponseHeaders([][2]string{{":status", "401"}}, false)
			s.RequestBody([]byte(question[10:]), true)
			s.ResponseBody([]byte(`{"error":{}}`), true)
			check(t, "status", s.ClientStatus, "401")
			check(t, "finished", s.Finished, true)
			check(t, "requests counted", p.requests(), 1)
		})
	}
}

func TestAStreamsTokensAreInTheFilterStateWhileItRuns(t *testing.T) {
	const key = "wasm.gen_ai.completion.tokens"
	for _, size := range []int{1, 13, 1 << 20} {
		t.Run(fmt.Sprintf("pieces of %d", size), func(t *testing.T) {
			p, vm := start(t, stopIteration, limitOf("completionTokens", 300))
			s := request{user: "ann"}.send(vm)
			s.ResponseHeaders(okEvents, false)
			check(t, "before the first event", s.FilterState[key], "")
			passed := ""
			for i, event := range events(5, 76) {
				for piece := range slices.Chunk([]byte(event), size) {
					p.Advance(100 * time.Millisecond) // it follows no faster
					s.ResponseBody(piece, false)
				}
				passed += event
				want := []string{"1", "2", "3", "4", "5", "76", "76"}[i]
				check(t, fmt.Sprintf("after event %d", i), s.FilterState[key], want)
				check(t, "client body", string(s.ClientBody), passed)
			}
			check(t, "source before the end", s.FilterState["wasm.gen_ai.usage.source"], "")
			s.ResponseBody(nil, true)
			check(t, "finished", s.Finished, true)
			check(t, "source", s.FilterState["wasm.gen_ai.usage.source"], "reported")
			check(t, "total", s.FilterState["wasm.gen_ai.total.tokens"], "100")
		})
	}
}

func TestASettledStreamFreesItsReservationAtItsLastByte(t *testing.T) {
	for name, finish := range map[string]func(*wasmhost.Stream){
		"the last piece": func(s *wasmhost.Stream) { s.ResponseBody([]byte(strings.Join(events(3, 76), "")), true) },
		"an empty piece": func(s *wasmhost.Stream) {
			s.ResponseBody([]byte(strings.Join(events(3, 76), "")), false)
			s.ResponseBody(nil, true)
		},
		"trailers": func(s *wasmhost.Stream) {
			s.ResponseBody([]byte(strings.Join(events(3, 76), "")), false)
			s.ResponseTrailers(nil)
		},
		"the client left": func(s *wasmhost.Stream) { s.ResponseBody([]byte(strings.Join(events(3, 76), "")), false); s.Done() },
	} {
		t.Run(name, func(t *testing.T) {
			_, vm := start(t, stopIteration, limitOf("completionTokens", 100, `"admission":"strict"`))
			bounded := func(tokens int) request {
				return request{user: "ann", body: fmt.Sprintf(`{"model":"llama-3-8b","stream":true,"max_tokens":%d}`, tokens)}
			}
			s := bounded(100).send(vm)
			s.ResponseHeaders(okEvents, false)
			check(t, "while it runs", bounded(1).send(vm).ClientStatus, "429")
			finish(s)
			check(t, "finished", s.Finished, true)
			check(t, "25 more", bounded(25).send(vm).ClientStatus, "429")
			check(t, "24 more", bounded(24).send(vm).ClientStatus, "")
		})
	}
}
