package wasmtest

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/wasmhost"
)

const (
	mib = 1 << 20
	// mostMemory bounds a worker's memory, whatever passes through it. It starts with less than 4 MiB.
	mostMemory = 24 * mib
	// mostForOne bounds it for a worker that serves a message at a time: less than an endless one is long.
	mostForOne = 12 * mib
	// mostGrowth is how much a worker that has warmed up may still grow.
	mostGrowth = mib
)

func checkMemory(t *testing.T, when string, vm *wasmhost.VM, most uint64) uint64 {
	t.Helper()
	bytes := vm.MemoryBytes()
	t.Logf("%s: %.2f MiB", when, float64(bytes)/mib)
	if bytes == 0 || bytes > most {
		t.Errorf("%s the worker holds %d bytes, want at most %d", when, bytes, most)
	}
	return bytes
}

func TestAWorkersMemoryStaysBoundedOver20000Requests(t *testing.T) {
	t.Parallel()
	p, vm := start(t, stopIteration, `{"models":{"labels":["llama-*"]},"requestHold":"stopIteration","limits":[
		{"name":"tokens","per":["user"],"unit":"totalTokens","quantity":1000,"window":"1h"},
		{"name":"requests","per":["tenant","header:x-session"],"unit":"requests","quantity":10000,"window":"1m"}]}`)
	serve := func(from, to int) {
		for i := from; i < to; i++ {
			r := request{
				user:    fmt.Sprintf("user-%d", i%5000),
				headers: [][2]string{{"x-tenant-id", fmt.Sprintf("tenant-%d", i%100)}, {"x-session", fmt.Sprint(i)}, {"authorization", "Bearer x"}},
				body:    fmt.Sprintf(`{"model":"llama-%d","messages":[{"role":"user","content":%q}]}`, i, strings.Repeat("sky ", i%300)),
			}
			s := r.send(vm)
			switch {
			case i%10 == 0:
				s.Done()
			case i%3 == 0:
				s.ResponseHeaders(okEvents, false)
				for _, event := range events(5, 5) {
					s.ResponseBody([]byte(event), false)
				}
				s.ResponseBody(nil, true)
			default:
				answer(s, completion(i%500))
			}
			s.Done()
		}
	}
	checkMemory(t, "at the start", vm, mostMemory)
	serve(0, 10_000)
	half := checkMemory(t, "after 10,000 requests", vm, mostMemory)
	serve(10_000, 20_000)
	if all := checkMemory(t, "after 20,000 requests", vm, mostMemory); all > half+mostGrowth {
		t.Errorf("the worker grew from %d to %d bytes", half, all)
	}
	check(t, "requests counted", p.requests(), 20_000)
	check(t, "stream contexts", vm.Contexts(), 0)
	vm.Tick()
	check(t, "ticks of an idle worker", vm.TickPeriod(), time.Second)
}

func TestManyStreamsAtOnceAreCheap(t *testing.T) {
	_, vm := start(t, stopIteration, limitOf("completionTokens", 1_000_000_000))
	var running []*wasmhost.Stream
	for range 1000 {
		s := request{user: "ann"}.send(vm)
		s.ResponseHeaders(okEvents, false)
		s.ResponseBody([]byte(events(1, 0)[0]), false)
		running = append(running, s)
	}
	checkMemory(t, "with 1,000 streams", vm, mostMemory)
	for _, s := range running {
		s.Done()
	}
	check(t, "stream contexts", vm.Contexts(), 0)
}

func TestNoResponseMakesAWorkerGrow(t *testing.T) {
	t.Parallel()
	const chunk = 64 << 10
	repeated := func(s string) []byte { return []byte(strings.Repeat(s, chunk/len(s))) }
	cases := []struct {
		name    string
		headers [][2]string
		begin   string
		fill    []byte
		total   int
	}{
		{"an event of one endless line", okEvents, `data: {"model":"`, repeated("x"), 100 * mib},
		{"an endless line of nothing known", okEvents, "", repeated("garbage "), 16 * mib},
		{"an event of endless lines", okEvents, "", repeated("data: [[{\n"), 16 * mib},
		{"endless empty events", okEvents, "", repeated("data: {}\n\n"), 16 * mib},
		{"endless output", okEvents, "", repeated(events(1, 0)[0]), 16 * mib},
		{"an endless string", okJSON, `{"usage":{},"model":"`, repeated("x"), 16 * mib},
		{"an endless key", okJSON, `{"`, repeated("x"), 16 * mib},
		{"an endless number", okJSON, `{"usage":{"completion_tokens":1`, repeated("0"), 16 * mib},
		{"endless choices", okJSON, `{"choices":[`, repeated(`{"index":0,"text":"x"},`), 16 * mib},
		{"a list 10,000 deep", okJSON, `{"choices":` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + `,`, repeated(`"a":1,`), mib},
		{"an object 10,000 deep", okJSON, strings.Repeat(`{"usage":`, 10_000), repeated(`{"usage":`), mib},
		{"bytes", okJSON, "", bytes.Repeat([]byte{0, 0xff, '"', '\\'}, chunk/4), 16 * mib},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p, vm := start(t, stopIteration, limitOf("completionTokens", 1_000_000_000))
			request{user: "ann"}.ask(vm)
			s := request{user: "ann"}.send(vm)
			s.ResponseHeaders(c.headers, false)
			s.ResponseBody([]byte(c.begin), false)
			for sent := 0; sent < c.total; sent += len(c.fill) {
				s.ClientBody = nil // the test's own memory is bounded too
				if s.ResponseBody(c.fill, false); !bytes.Equal(s.ClientBody, c.fill) {
					t.Fatal("what passed is not what was sent")
				}
			}
			s.ResponseBody(nil, true)
			checkMemory(t, "in the end", vm, mostForOne)
			check(t, "finished", s.Finished, true)
			check(t, "settled", s.FilterState["wasm.gen_ai.usage.source"] != "", true)
			check(t, "panics", p.Counter("spillway_errors_total;reason=panic"), 0)
			check(t, "status of the next", request{user: "ann"}.ask(vm).ClientStatus, "200")
		})
	}
}

func TestNoRequestMakesAWorkerGrow(t *testing.T) {
	for name, body := range map[string]string{
		"deep":           strings.Repeat(`{"model":[`, 100_000),
		"an endless key": `{"` + strings.Repeat("x", 20*mib),
		"a long model":   `{"model":"` + strings.Repeat("m", 900_000) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, vm := start(t, stopIteration, limitOf("completionTokens", 1_000_000_000))
			for range 3 {
				s := request{user: "ann"}.open(vm)
				sendInPieces(s, body, 64<<10, nil)
				check(t, "passed whole", string(s.UpstreamBody) == body, true)
				answer(s, completion(76))
				check(t, "status", s.ClientStatus, "200")
			}
			checkMemory(t, "in the end", vm, mostForOne)
		})
	}
}

// A busy machine makes Envoy hand in what the kernel has gathered meanwhile: megabytes in one piece.
func TestALargePieceNeedsNoMemoryOfItsSize(t *testing.T) {
	for name, headers := range map[string][][2]string{"events": okEvents, "a document": okJSON} {
		t.Run(name, func(t *testing.T) {
			p, vm := start(t, stopIteration, limitOf("completionTokens", 1_000_000_000))
			filler := bytes.Repeat([]byte(" "), 32*mib)
			s := request{user: "ann", body: question + string(filler)}.send(vm)
			s.ResponseHeaders(headers, false)
			if answer := completion(76); name == "events" {
				s.ResponseBody(append(filler, "\ndata: "+answer+"\n\n"...), true)
			} else {
				s.ResponseBody(append(filler, answer...), true)
			}
			checkMemory(t, "in the end", vm, mostForOne)
			check(t, "completion tokens", s.FilterState["wasm.gen_ai.completion.tokens"], "76")
			check(t, "usage", s.FilterState["wasm.gen_ai.usage.source"], "reported")
			check(t, "panics", p.Counter("spillway_errors_total;reason=panic"), 0)
		})
	}
}
