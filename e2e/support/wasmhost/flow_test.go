package wasmhost_test

import (
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/wasmhost"
)

func TestPassesThrough(t *testing.T) {
	h := newHost(t, wasmhost.Options{SeparateEndOfStream: true})
	v := startVM(t, h, "plain")
	s, a := begin(t, v, "go", false)
	check(t, "action", a, wasmhost.Continue)
	check(t, "headers went on at once", s.ForwardedHeaders, true)
	s.RequestBody([]byte("hello"), true)
	wantLog(t, h, "body 5 end=false")
	wantLog(t, h, "body 0 end=true")
	check(t, "upstream body", string(s.UpstreamBody), "hello")
	check(t, "upstream end", s.UpstreamEnd, true)
	s.ResponseHeaders(okHeaders, false)
	wantLog(t, h, "response 200 <nil> end=false, request header: error status returned by host: bad argument")
	s.ResponseBody([]byte("world"), true)
	check(t, "client status", s.ClientStatus, "200")
	check(t, "edited response", header(s.ClientHeaders, "x-seen"), "1")
	check(t, "client body", string(s.ClientBody), "world")
	check(t, "filter state", s.FilterState["wasm.gen_ai.tokens"], "0")
	check(t, "finished by the response's end", s.Finished, true)
	wantLog(t, h, `done "go" <nil> edit: error status returned by host: bad argument`)
	check(t, "contexts", v.Contexts(), 0)
	check(t, "callbacks", h.Callbacks()["proxy_on_delete"], 1)
	s.Done()
	check(t, "no second delete", h.Callbacks()["proxy_on_delete"], 1)
	noViolations(t, h)
}

func TestPauseAtHeadersHoldsTheBodyBack(t *testing.T) {
	h := newHost(t, wasmhost.Options{})
	v := startVM(t, h, "tick")
	s, a := begin(t, v, "pause", false)
	check(t, "action", a, wasmhost.Pause)
	check(t, "body", s.RequestBody([]byte("one"), false), wasmhost.NotCalled)
	s.RequestBody([]byte("two"), true)
	check(t, "paused", s.Paused(), true)
	check(t, "body callbacks", s.Callbacks["proxy_on_request_body"], 0)
	v.Tick()
	wantLog(t, h, "body 6 end=true")
	wantLog(t, h, "edit after resume: error status returned by host: bad argument")
	check(t, "upstream body", string(s.UpstreamBody), "onetwo")
	check(t, "edit before resume", header(s.UpstreamHeaders, "x-resumed"), "1")
	check(t, "edit after resume", header(s.UpstreamHeaders, "x-late"), "")
	check(t, "paused", s.Paused(), false)
	noViolations(t, h)
}

func TestAllowOnHeadersStopIteration(t *testing.T) {
	h := newHost(t, wasmhost.Options{AllowOnHeadersStopIteration: true, SeparateEndOfStream: true})
	v := startVM(t, h, "tick")
	s, _ := begin(t, v, "hold", false)
	check(t, "first piece", s.RequestBody([]byte("one"), false), wasmhost.Pause)
	s.RequestBody([]byte("two"), true)
	for _, line := range []string{"body 3 end=false", "body 6 end=false", "body 6 end=true", "collected onetwo <nil>"} {
		wantLog(t, h, line)
	}
	check(t, "nothing upstream", s.ForwardedHeaders, false)
	v.Tick()
	check(t, "upstream body", string(s.UpstreamBody), "onetwo")
	check(t, "end", s.UpstreamEnd, true)
	check(t, "body callbacks", s.Callbacks["proxy_on_request_body"], 3)
	noViolations(t, h)
}

func TestBodyContinueReleasesHeaders(t *testing.T) {
	h := newHost(t, wasmhost.Options{AllowOnHeadersStopIteration: true})
	v := startVM(t, h, "plain")
	s, _ := begin(t, v, "collect", false)
	s.RequestBody([]byte("a"), false)
	check(t, "held", s.ForwardedHeaders, false)
	check(t, "action", s.RequestBody([]byte("b"), true), wasmhost.Continue)
	check(t, "headers", s.ForwardedHeaders, true)
	check(t, "replaced body", string(s.UpstreamBody), "<ab>")
	noViolations(t, h)
}

func TestTrailersEndABody(t *testing.T) {
	h := newHost(t, wasmhost.Options{})
	v := startVM(t, h, "tick")
	s, _ := begin(t, v, "pause", false)
	s.RequestBody([]byte("one"), false)
	check(t, "held", s.RequestTrailers([][2]string{{"x-t", "1"}}), wasmhost.NotCalled)
	v.Tick()
	wantLog(t, h, "body 3 end=false")
	wantLog(t, h, "trailers 1")
	check(t, "trailers", header(s.UpstreamTrailers, "x-t"), "1")
	check(t, "end", s.UpstreamEnd, true)
	noViolations(t, h)
}

func TestResumeInTheMiddleOfABody(t *testing.T) {
	h := newHost(t, wasmhost.Options{})
	v := startVM(t, h, "tick")
	s, _ := begin(t, v, "hold-first", false)
	s.RequestBody([]byte("one"), false)
	v.Tick()
	check(t, "upstream body", string(s.UpstreamBody), "one")
	s.RequestBody([]byte("two"), true)
	wantLog(t, h, "body 3 end=true")
	check(t, "upstream body", string(s.UpstreamBody), "onetwo")
	check(t, "upstream end", s.UpstreamEnd, true)
	check(t, "violations", len(h.Violations()), 0)
}

func TestLocalReply(t *testing.T) {
	h := newHost(t, wasmhost.Options{})
	v := startVM(t, h, "plain")
	for _, do := range []string{"deny", "deny-continue"} {
		s, a := begin(t, v, do, false)
		check(t, "action", a, wasmhost.Pause)
		check(t, "status", s.ClientStatus, "429")
		check(t, "local", s.LocalReply, true)
		check(t, "body", string(s.ClientBody), "no")
		check(t, "retry-after", header(s.ClientHeaders, "retry-after"), "1")
		check(t, "through the filter", header(s.ClientHeaders, "x-seen"), "1")
		check(t, "upstream", s.ForwardedHeaders, false)
		check(t, "late body", s.RequestBody([]byte("x"), true), wasmhost.NotCalled)
	}
	// The request was never let go, so its headers are still in reach.
	wantLog(t, h, "response 429 <nil> end=false, request header: <nil>")
	wantLog(t, h, "response body 2 end=true")
	noViolations(t, h)
}

func TestEditingARequestThatIsAnswered(t *testing.T) {
	h := newHost(t, wasmhost.Options{})
	begin(t, startVM(t, h, "plain"), "deny-edit", true)
	wantLog(t, h, `done "deny-edit" <nil> edit: <nil>`)
	check(t, "violations", len(h.Violations()), 1)
}

func TestRejectingAtTheBody(t *testing.T) {
	for name, opts := range map[string]wasmhost.Options{
		"bare": {}, "buffer filter after": {BufferFilterAfter: true},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, opts)
			s, _ := begin(t, startVM(t, h, "plain"), "deny-body", false)
			s.RequestBody([]byte("x"), true)
			check(t, "status", s.ClientStatus, "429")
			check(t, "the upstream saw it", s.ForwardedHeaders, !opts.BufferFilterAfter)
			check(t, "the upstream was reset", s.UpstreamReset, !opts.BufferFilterAfter)
			noViolations(t, h)
		})
	}
}

func TestLocalReplyFromTick(t *testing.T) {
	h := newHost(t, wasmhost.Options{})
	v := startVM(t, h, "tick-deny")
	s, _ := begin(t, v, "pause", true)
	v.Tick()
	check(t, "status", s.ClientStatus, "503")
	check(t, "body", string(s.ClientBody), "late")
	noViolations(t, h)
}

func TestBufferLimit(t *testing.T) {
	h := newHost(t, wasmhost.Options{AllowOnHeadersStopIteration: true, BufferLimit: 4})
	v := startVM(t, h, "plain")
	s, _ := begin(t, v, "hold", false)
	s.RequestBody([]byte("123"), false)
	s.RequestBody([]byte("456"), false)
	check(t, "status", s.ClientStatus, "413")
	wantLog(t, h, "response 413")
	s, _ = begin(t, v, "hold-response", true)
	s.ResponseHeaders(okHeaders, false)
	s.ResponseBody([]byte("12345"), false)
	check(t, "headers were out already", s.ClientReset, true)
	noViolations(t, h)
}

func TestStreamDoneMayComeFirst(t *testing.T) {
	h := newHost(t, wasmhost.Options{})
	v := startVM(t, h, "plain")
	v.NewStream().Done()
	wantLog(t, h, `done "" error status returned by host: bad argument`)
	check(t, "contexts", v.Contexts(), 0)
}

func TestEffectiveContextOfADeadStream(t *testing.T) {
	h := newHost(t, wasmhost.Options{})
	v := startVM(t, h, "tick")
	alive, _ := begin(t, v, "pause", true)
	dead, _ := begin(t, v, "pause", true)
	dead.Done()
	h.ResetCalls()
	v.Tick()
	wantLog(t, h, "effective context error status returned by host: bad argument")
	// The stream before it is still the effective one, but it was resumed, which
	// took its headers out of reach.
	wantLog(t, h, `still "" error status returned by host: bad argument`)
	check(t, "the other stream", alive.ForwardedHeaders, true)
	check(t, "resumptions", h.Calls()["proxy_continue_stream"], 1)
	check(t, "the dead one", dead.ForwardedHeaders, false)
	noViolations(t, h)
}

func TestClockStandsStill(t *testing.T) {
	start := time.Date(2030, 5, 6, 7, 8, 9, 0, time.UTC)
	h := newHost(t, wasmhost.Options{Start: start})
	v := startVM(t, h, "tick")
	check(t, "tick period", v.TickPeriod(), 20*time.Millisecond)
	h.Advance(time.Second)
	v.Tick()
	wantLog(t, h, "tick tick at "+millis(start.Add(time.Second)))
	begin(t, v, "tick-here", true)
	check(t, "tick period set by a stream", v.TickPeriod(), 7*time.Millisecond)
	v2 := startVM(t, h, "plain")
	h.ResetCalls()
	v2.Tick()
	check(t, "ticks without a period", h.Callbacks()["proxy_on_tick"], 0)
}

func TestBufferFilterLetsAWholeRequestPass(t *testing.T) {
	h := newHost(t, wasmhost.Options{BufferFilterAfter: true})
	v := startVM(t, h, "plain")
	s, _ := begin(t, v, "", false)
	s.RequestBody([]byte("one"), false)
	check(t, "nothing upstream yet", s.ForwardedHeaders, false)
	s.RequestBody([]byte("two"), true)
	check(t, "upstream body", string(s.UpstreamBody), "onetwo")
	check(t, "end", s.UpstreamEnd, true)
	s, _ = begin(t, v, "", false)
	s.RequestBody([]byte("one"), false)
	s.RequestTrailers([][2]string{{"x-t", "1"}})
	check(t, "upstream body", string(s.UpstreamBody), "one")
	check(t, "trailers", header(s.UpstreamTrailers, "X-T"), "")
	check(t, "trailers", header(s.UpstreamTrailers, "x-t"), "1")
	noViolations(t, h)
}

func TestHeldResponse(t *testing.T) {
	h := newHost(t, wasmhost.Options{})
	s, _ := begin(t, startVM(t, h, "plain"), "hold-response", true)
	s.ResponseHeaders(okHeaders, false)
	check(t, "action", s.ResponseBody([]byte("one"), false), wasmhost.Pause)
	check(t, "held", s.ResponsePaused(), true)
	check(t, "client body", string(s.ClientBody), "")
	s.ResponseBody([]byte("two"), true)
	wantLog(t, h, "response body 6 end=true")
	check(t, "client body", string(s.ClientBody), "onetwo")
	check(t, "end", s.ClientEnd, true)
	noViolations(t, h)
}

func TestResponseTrailers(t *testing.T) {
	h := newHost(t, wasmhost.Options{})
	s, _ := begin(t, startVM(t, h, "plain"), "", true)
	s.ResponseHeaders(okHeaders, false)
	s.ResponseBody([]byte("one"), false)
	s.ResponseTrailers([][2]string{{"x-t", "1"}})
	check(t, "client body", string(s.ClientBody), "one")
	check(t, "trailers", header(s.ClientTrailers, "x-t"), "1")
	check(t, "finished", s.Finished, true)
	noViolations(t, h)
}

func TestClientLeaves(t *testing.T) {
	h := newHost(t, wasmhost.Options{})
	v := startVM(t, h, "plain")
	s, _ := begin(t, v, "", true)
	s.ResponseHeaders(okHeaders, false)
	s.Done()
	check(t, "upstream reset", s.UpstreamReset, true)
	check(t, "complete", s.ClientEnd, false)
	check(t, "late piece", s.ResponseBody([]byte("x"), true), wasmhost.NotCalled)
	check(t, "contexts", v.Contexts(), 0)
	noViolations(t, h)
}
