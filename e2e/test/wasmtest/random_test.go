package wasmtest

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/wasmhost"
)

// The random tests lead streams through every order of events that a host can bring about, with bodies that are broken in
// every way. What must hold: nobody sees anything but what was sent, each request is counted once, and what was charged
// is what was reported, to the token.
const (
	randomRuns    = 20
	randomStreams = 20 // of each run
	randomWorkers = 2

	budget = 1_000_000 // tokens; one leaks in half a minute
	// mostTime is how far a run's clock may go, so that less than one token leaks.
	mostTime = 20 * time.Second
)

// randomConfig limits all requests together to the budget, and each user to a few requests.
const randomConfig = `{"requestHold":%q,"models":{"aliases":{"nv":"llama"},"labels":["llama-*"]},"usage":{"maxRequestBytes":2000},
	"limits":[{"name":"all","unit":"completionTokens","quantity":1000000,"window":"8784h","admission":"strict"},
	{"name":"some","per":["user"],"match":{"models":%s},"unit":"requests","quantity":4,"window":"8784h"}]}`

func TestRandomStreamsNeitherTrapAWorkerNorLoseAToken(t *testing.T) {
	for seed := range uint64(randomRuns) {
		hold := holds[seed%3]
		options := hold.host
		options.SeparateEndOfStream = seed%2 == 1
		if seed%7 == 6 { // the host isn't what the configuration says
			hold.name, options = "stopIteration", plainHost
		}
		t.Run(fmt.Sprintf("seed %d, %s", seed, hold.name), func(t *testing.T) {
			models := []string{`["*"]`, `["llama-*"]`}[seed%2]
			r := &run{t: t, Rand: rand.New(rand.NewPCG(seed, 0)), config: fmt.Sprintf(randomConfig, hold.name, models)}
			r.p = newProxy(t, options)
			for range randomWorkers {
				r.vms = append(r.vms, r.p.worker(r.config))
			}
			r.play()
			r.judge()
		})
	}
}

// run is one random run.
type run struct {
	*rand.Rand
	t      *testing.T
	p      *proxy
	config string
	vms    []*wasmhost.VM
	actors []*actor
	passed time.Duration
}

func (r *run) one(of ...string) string { return of[r.IntN(len(of))] }

func (r *run) chance(percent int) bool { return r.IntN(100) < percent }

// play begins streams and leads them on, a random step at a time, until all are over.
func (r *run) play() {
	open := []*actor{}
	for len(r.actors) < randomStreams || len(open) > 0 {
		if len(r.actors) < randomStreams && (len(open) == 0 || r.chance(10)) {
			a := r.actor()
			r.actors, open = append(r.actors, a), append(open, a)
		}
		i := r.IntN(len(open))
		if open[i].step(); open[i].s.Finished {
			open = append(open[:i], open[i+1:]...)
		}
		vm := r.vms[r.IntN(len(r.vms))]
		if r.chance(20) {
			vm.Tick()
		}
		if d := time.Duration(r.IntN(300)) * time.Millisecond; r.chance(20) && r.passed+d < mostTime {
			r.passed += d
			r.p.Advance(d)
		}
		if r.chance(1) {
			config := strings.Replace(r.config, `"labels":[`, fmt.Sprintf(`"labels":["x%d",`, r.IntN(5)), 1)
			if err := vm.Reconfigure([]byte(config)); err != nil {
				r.t.Fatal(err)
			}
		}
	}
}

// judge checks what must hold in the end.
func (r *run) judge() {
	begun, used := 0, 0
	for _, a := range r.actors {
		if a.begun {
			begun++
		}
		a.judge()
		if state := a.s.FilterState; state["wasm.gen_ai.usage.source"] != "" {
			tokens, err := strconv.Atoi(state["wasm.gen_ai.completion.tokens"])
			if err != nil {
				r.t.Errorf("completion tokens: %v", err)
			}
			used += tokens
		}
	}
	check(r.t, "requests counted", r.p.requests(), begun)
	for _, vm := range r.vms {
		check(r.t, "dead", vm.Err(), nil)
		check(r.t, "stream contexts", vm.Contexts(), 0)
		check(r.t, "plugin contexts", vm.PluginContexts(), 1)
	}
	errors := r.p.counters("spillway_errors_total;")
	delete(errors, notDelivered)
	for _, reason := range []string{"response_unread", "usage_implausible"} { // which random answers are
		delete(errors, "spillway_errors_total;reason="+reason)
	}
	checkMap(r.t, "errors", errors, nil)
	// A limit of the same name and unit has the same bucket; one that asks for the model needs the body on every host.
	vm := r.p.worker(`{"limits":[{"name":"all","unit":"completionTokens","quantity":1000000,"window":"8784h",
		"admission":"strict","match":{"models":["probe"]}}]}`)
	ask := func(tokens int) string {
		return request{body: fmt.Sprintf(`{"model":"probe","max_tokens":%d}`, tokens)}.ask(vm).ClientStatus
	}
	check(r.t, fmt.Sprintf("%d used: one more than the rest", used), ask(budget-used+1), "429")
	check(r.t, fmt.Sprintf("%d used: the rest", used), ask(budget-used), "200")
}

// actor plays the client and the upstream of one stream.
type actor struct {
	run   *run
	s     *wasmhost.Stream
	begun bool
	ended bool // the client has sent all
	// what is still to be sent, and what was
	request, response         []byte
	sentRequest, sentResponse []byte
	answering                 bool
}

func (r *run) actor() *actor {
	return &actor{
		run: r, s: r.vms[r.IntN(len(r.vms))].NewStream(),
		request: r.broken(r.one(
			question, `{"model":"nv/gpt","stream":true,"max_tokens":7,"n":2}`, `{"model":"llama-3","max_completion_tokens":50}`, "", "null",
			`{"max_tokens":-1,"n":1e9,"model":["llama-3"]}`, strings.Repeat("[", 3000), `{"model":"llama-\ud83d\ude00","messages":[]}`,
		)),
		response: r.broken(r.one(
			completion(76), completion(0), strings.Join(events(5, 9), ""), strings.Join(events(3, 0), ""), "", "{}", `{"usage":null}`,
			"data: {\"usage\":{\"completion_tokens\":3.5}}\r\n\r\n: ping\n\ndata\n\n", `{"usage":{"total_tokens":7,"completion_tokens":null}}`,
		)),
	}
}

// broken damages a text every other time.
func (r *run) broken(text string) []byte {
	b := []byte(text)
	if len(b) == 0 || r.chance(50) {
		return b
	}
	for range r.IntN(4) {
		b[r.IntN(len(b))] = byte(r.IntN(256))
	}
	if r.chance(30) {
		b = b[:r.IntN(len(b))]
	}
	return b
}

// step brings about the stream's next event.
func (a *actor) step() {
	r := a.run
	switch {
	case r.chance(2):
		a.s.Done()
	case !a.begun:
		a.begin()
	case a.s.LocalReply:
		a.s.Done()
	case a.s.ForwardedHeaders && (a.ended && a.s.UpstreamEnd && r.chance(50) || a.answering && r.chance(50) || r.chance(2)):
		a.answer()
	case !a.ended:
		a.send()
	case a.s.Paused() && r.passed+patience < mostTime && r.chance(10):
		r.passed += patience
		r.p.Advance(patience)
	}
}

func (a *actor) begin() {
	r := a.run
	a.begun, a.ended = true, r.chance(10)
	headers := request{
		method: r.one("POST", "POST", "POST", "GET", ""),
		path: r.one("/v1/chat/completions", "/v1/chat/completions", "/v1/completions?x=%00", "/v1/embeddings", "/v1/models", "/", "",
			"/"+strings.Repeat("v1/", 500)),
		user: r.one("", "ann", "bob", "\xff\x00", strings.Repeat("u", 5000)),
	}.head()
	for range r.IntN(4) {
		headers = append(headers, [][2]string{
			{"x-priority", r.one("low", "urgent", "?")}, {"x-user-id", "ann"}, {"content-encoding", r.one("gzip", "identity", "")},
			{"content-length", r.one("0", "-1", "5000", "99999999999999999999", "x")}, {"authorization", "Bearer k"}, {"x-tenant-id", " "},
		}[r.IntN(6)])
	}
	a.s.RequestHeaders(headers, a.ended)
}

// send sends the next piece of the request's body.
func (a *actor) send() {
	r := a.run
	piece := a.request[:r.IntN(len(a.request)+1)]
	a.request = a.request[len(piece):]
	last := len(a.request) == 0 && r.chance(50)
	a.sentRequest = append(a.sentRequest, piece...)
	a.s.RequestBody(piece, last)
	a.ended = last
	if !last && len(a.request) == 0 && r.chance(20) {
		a.ended = true
		a.s.RequestTrailers([][2]string{{"x-t", "1"}})
	}
}

// answer sends the next part of the response.
func (a *actor) answer() {
	r := a.run
	if !a.answering {
		a.answering = true
		end := r.chance(10)
		a.s.ResponseHeaders([][2]string{
			{":status", r.one("200", "200", "200", "200", "400", "429", "500", "0", "x")},
			{"content-type", r.one("application/json", "text/event-stream", "Text/Event-Stream; charset=utf-8", "")},
			{"content-encoding", r.one("", "", "", "br")},
		}, end)
		if end {
			a.response = nil
		}
		return
	}
	piece := a.response[:r.IntN(len(a.response)+1)]
	a.response = a.response[len(piece):]
	last := len(a.response) == 0 && r.chance(50)
	a.sentResponse = append(a.sentResponse, piece...)
	a.s.ResponseBody(piece, last)
	if !last && len(a.response) == 0 && r.chance(20) {
		a.s.ResponseTrailers(nil)
	}
}

// judge checks that what was passed on is what was sent, but for the usage that streams are asked for.
func (a *actor) judge() {
	if a.s.UpstreamEnd {
		const asked = `"stream_options":{"include_usage":true},`
		check(a.run.t, "upstream body", strings.Replace(string(a.s.UpstreamBody), asked, "", 1), string(a.sentRequest))
	}
	if !a.s.LocalReply {
		check(a.run.t, "client body", string(a.s.ClientBody), string(a.sentResponse))
	}
}
