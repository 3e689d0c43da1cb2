package buildtest

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/wasmhost"
)

// The settings of programs: all gates, and each way to hold.
var programmed = []string{
	settings,
	strings.Replace(settings, `"stopIteration"`, `"none"`, 1),
	strings.Replace(settings, `"namespace"`, `"mode":"shadow","namespace"`, 1),
	strings.Replace(settings, `"queue":{"max":20,`, `"pressure":{"mode":"enforce","onStale":"full"},"queue":{"max":3,"whenFull":"dropLowest","maxWait":{"normal":"2s"},`, 1),
}

var (
	asked = [][][2]string{
		{{":method", "POST"}, {":path", "/v1/chat/completions"}, {"x-user-id", "ann"}},
		{{":method", "POST"}, {":path", "/v1/chat/completions"}, {"x-user-id", "bob"}, {"content-length", "90"}, {"x-priority", "low"}},
		{{":method", "POST"}, {":path", "/v1/messages"}, {"x-user-id", "ann"}, {"x-priority", "urgent"}, {"expect", "100-continue"}},
		{{":method", "POST"}, {":path", "/v1beta/models/m-1:streamGenerateContent?alt=sse"}, {"x-tenant-id", "t"}},
		{{":method", "POST"}, {":path", "/v1/completions"}, {"content-encoding", "gzip"}, {"authorization", "Bearer k"}},
		{{":method", "GET"}, {":path", "/v1/models"}}, {{":method", "POST"}, {":path", "/unknown"}}, {},
	}
	askedBodies = []string{`{"model":"m-1","max_tokens":30,"messages":[{"role":"user","content":"hi"}]}`, `{"model":"m-2","stream":true}`, `{"model":`, `"m-3"}`, "{}", ""}
	statuses    = []string{"200", "200", "200", "429", "503", "400", "x", ""}
	types       = []string{"application/json", "text/event-stream", ""}
	answers     = []string{
		`{"model":"m-1","choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":7,"completion_tokens":9,"total_tokens":16}}`,
		"data: {\"choices\":[{\"delta\":{\"content\":\"w\"}}]}\n\n", "data: {\"choices\":[],\"usage\":{\"completion_tokens\":5}}\n\n", "data: [DONE]\n\n", "data: {", "",
	}
	extra = []string{"x-slo-ttft-ms", "x-fallback", "x-api-key", "authorization", "content-type", "accept-encoding", "retry-after", "x-ratelimit-remaining-requests",
		"x-ratelimit-reset-requests", "content-encoding", "transfer-encoding", "upgrade", "x-user-id", "x-priority"}
)

// program is a list of callbacks, read from bytes: whatever they are, they are a program. It says the same whatever the filter does.
type program struct {
	testing.TB
	rest    []byte
	host    *wasmhost.Host
	workers [2]*wasmhost.VM
	open    []*wasmhost.Stream
	lines   []string
}

func (p *program) byte() byte {
	if len(p.rest) == 0 {
		return 0
	}
	b := p.rest[0]
	p.rest = p.rest[1:]
	return b
}

// bytes gives some of the next ones, as they are.
func (p *program) bytes() []byte {
	n := min(int(p.byte()), len(p.rest))
	b := p.rest[:n]
	p.rest = p.rest[n:]
	return b
}

func pick[T any](p *program, of []T) T { return of[int(p.byte())%len(of)] }

// text is one that is known, or, for some bytes, whatever follows in the program.
func (p *program) text(known []string) []byte {
	if n := int(p.byte()); n < 4*len(known) {
		return []byte(known[n%len(known)])
	}
	return p.bytes()
}

// more are headers, and now and then one more, whatever it says.
func (p *program) more(headers [][2]string) [][2]string {
	if p.byte() < 128 {
		return headers
	}
	return append(slices.Clone(headers), [2]string{pick(p, extra), string(p.bytes())})
}

func (p *program) start(worker int) {
	p.host.DisturbSharedData(0, 0) // a VM that can't have what is shared refuses to start
	vm, err := p.host.StartVM(nil, []byte(pick(p, programmed)))
	if err != nil {
		p.Fatal(err, p.host.Logs())
	}
	p.workers[worker] = vm
}

// end ends a stream, and takes note of what was seen of it.
func (p *program) end(i int) {
	s := p.open[i]
	s.Done()
	p.lines = append(p.lines, tell(s))
	p.open = slices.Delete(p.open, i, i+1)
}

// step lets one thing happen.
func (p *program) step() {
	switch b := p.byte(); {
	case b < 40 || len(p.open) == 0 && b < 200:
		s := p.workers[b&1].NewStream()
		if b != 39 { // else its end is the first that the filter hears of it
			s.RequestHeaders(p.more(pick(p, asked)), p.byte()&7 == 0)
		}
		p.open = append(p.open, s)
	case b < 200:
		i := int(p.byte()) % len(p.open)
		p.lead(i, b%20)
	default:
		p.around(b)
	}
}

// lead brings a stream's next event, whatever came before.
func (p *program) lead(i int, event byte) {
	s, end := p.open[i], p.byte()&3 == 0
	switch {
	case event < 2 || s.Finished:
		p.end(i)
	case event < 8:
		s.RequestBody(p.text(askedBodies), end)
	case event == 8:
		s.RequestTrailers([][2]string{{"x-t", "1"}})
	case event < 12:
		s.Properties["response.code_details"] = pick(p, []string{"via_upstream", "via_upstream", "response_timeout", "no_healthy_upstream", "ext_authz_denied", "internal_redirect"})
		s.ResponseHeaders(p.more([][2]string{{":status", string(p.text(statuses))}, {"content-type", string(p.text(types))}}), end)
	case event < 18:
		s.ResponseBody(p.text(answers), end)
	default:
		s.ResponseTrailers(nil)
	}
}

// around lets something happen to all.
func (p *program) around(b byte) {
	vm := p.workers[b&1]
	switch b % 10 {
	case 0, 1, 2, 3:
		p.host.Advance(time.Duration(p.byte()) * 20 * time.Millisecond)
	case 4:
		p.host.Advance(time.Duration(int8(p.byte())) * time.Second)
	case 5:
		p.host.DisturbSharedData(0, 0)
		if err := vm.Reconfigure([]byte(pick(p, programmed))); err != nil {
			p.Fatal(err)
		}
	case 6:
		p.host.DisturbSharedData(int(p.byte()%8), int(p.byte()%16))
	case 7:
		p.damage()
	case 8:
		p.die(int(b & 1))
		return
	default:
		p.fetched(vm)
		return
	}
	vm.Tick()
}

// damage writes garbage over what the workers share. The pages of limits are left alone: their names are of each worker's own making.
func (p *program) damage() {
	keys := slices.DeleteFunc(p.host.SharedDataKeys(), func(key string) bool { return strings.Contains(key, "/b1/") })
	if len(keys) == 0 {
		return
	}
	key := pick(p, keys)
	if value, _, _ := p.host.SharedData(key); p.byte()&1 == 0 {
		p.host.SetSharedData(key, value[:len(value)/2])
		return
	}
	p.host.SetSharedData(key, p.bytes())
}

// die ends a worker's VM, as a trap would, with its streams, and starts another.
func (p *program) die(worker int) {
	if p.byte() > 32 {
		return
	}
	p.workers[worker].Kill()
	p.start(worker)
}

// fetched answers what a worker has asked the exporter.
func (p *program) fetched(vm *wasmhost.VM) {
	for _, c := range vm.Callouts() {
		if p.byte() < 64 {
			_ = vm.FailCallout(c)
			continue
		}
		body := p.text([]string{`{"instances":[{"active_decode_blocks":0.99,"age_ms":5}]}`, `{"instances":[{"gpu_memory":0.5}]}`, `{`})
		if err := vm.AnswerCallout(c, [][2]string{{":status", string(p.text(statuses))}}, body, nil); err != nil {
			p.Fatal(err)
		}
	}
}

// run runs a program on a build, ends what it has left open, and says what came of it.
func run(t testing.TB, m *wasmhost.Module, events []byte) []string {
	p := &program{TB: t, rest: events, host: wasmhost.NewHost(m, wasmhost.Options{AllowOnHeadersStopIteration: true, Seed: 1})}
	for i := range p.workers {
		p.start(i)
	}
	for len(p.rest) > 0 {
		p.step()
	}
	p.host.DisturbSharedData(0, 0)
	for len(p.open) > 0 {
		p.end(len(p.open) - 1)
	}
	for range 6 { // the words of dead workers are forgotten meanwhile
		for _, vm := range p.workers {
			vm.Tick()
		}
		p.host.Advance(time.Minute)
	}
	for i, vm := range p.workers {
		if err := vm.Err(); err != nil {
			t.Errorf("worker %d died: %v", i, err)
		}
		if n := vm.Contexts(); n != 0 {
			t.Errorf("worker %d has %d streams when all have ended", i, n)
		}
		vm.Kill()
	}
	for _, name := range p.host.MetricNames() {
		if n := p.host.Gauge(name); n != 0 && (strings.HasPrefix(name, "spillway_inflight;") || strings.HasPrefix(name, "spillway_queue_depth;")) {
			t.Errorf("%s is %d when all have ended", name, n)
		}
		if n := p.host.Counter(name); n != 0 && strings.HasPrefix(name, "spillway_errors_total;reason=panic") {
			t.Errorf("%d panics", n)
		}
	}
	if v := p.host.Violations(); len(v) > 0 {
		t.Error(v)
	}
	return append(p.lines, metrics(p.host)...)
}

// FuzzBuilds runs programs of callbacks, in any order, on both builds: no VM dies, nothing is left when all streams have ended, and both do the
// same.
func FuzzBuilds(f *testing.F) {
	modules := builds(f)
	whole := []byte{0, 0, 1, 1, 44, 0, 0, 0, 109, 0, 1, 0, 0, 0, 0, 112, 0, 0, 0, 200, 9}
	for i := range byte(4) {
		f.Add(append([]byte{i, i}, whole...))
	}
	f.Add(append(slices.Repeat(whole, 5), 205, 1, 206, 3, 1, 207, 1, 3, 4, 9, 9, 9, 9, 208, 1, 1, 209, 100, 0, 0))
	f.Fuzz(func(t *testing.T, events []byte) {
		if len(events) > 2048 {
			return
		}
		stock, tiny := run(t, modules[0], events), run(t, modules[1], events)
		for i := range min(len(stock), len(tiny)) {
			if stock[i] != tiny[i] {
				t.Fatalf("line %d differs:\nstock Go: %.3000s\nTinyGo:   %.3000s", i, stock[i], tiny[i])
			}
		}
		if len(stock) != len(tiny) {
			t.Errorf("stock Go: %d lines, TinyGo: %d", len(stock), len(tiny))
		}
	})
}
