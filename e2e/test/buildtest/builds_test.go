// Package buildtest holds the two builds of the filter beside each other: stock Go's, with which most tests run, and TinyGo's, which is
// deployed. Another compiler brings another runtime: its own maps, formatting of numbers, conversions, strings without a copy, stack. So
// the same traffic goes through both on the strict double of Envoy's host, whose clock is the test's, and what clients, upstreams, the
// filter state, metrics and the log get must be the same, byte by byte.
package buildtest

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/support/wasmhost"
	"github.com/spillway-proxy/spillway/filter/check/find"
)

// settings turn on what computes: limits of each unit, and every gate.
const settings = `{"namespace":"builds","requestHold":"stopIteration","models":{"labels":["m-*"]},"limits":[
	{"name":"requests","per":["user"],"unit":"requests","quantity":30,"window":"1m"},
	{"name":"cost","per":["tenant"],"unit":"cost","quantity":9000,"window":"1m","burst":7001},
	{"name":"tokens","per":["user","model"],"unit":"totalTokens","quantity":5000,"window":"1m","admission":"strict"},
	{"name":"inflight","per":["user"],"unit":"inflight","quantity":3}],
	"usage":{"promptTokensPerByte":0.3,"cost":[{"models":["m-1"],"prompt":0.7,"cached":0.013,"completion":3.3,"reasoning":1e-3},{"models":["*"]}]},
	"upstreams":[{"name":"u","budget":{"requests":300,"window":"1m"},"concurrency":{"max":4},"queue":{"max":20,"maxBytes":20000,"fairness":"header:x-flow"},"retreat":{"mode":"enforce"},
	"latency":{"mode":"enforce","ttft":"700ms","itl":"90ms"},"throttle":{"mode":"enforce"},"breaker":{"mode":"enforce"}}]}`

const (
	seeds    = 12
	requests = 150 // of each
)

// builds are the compiled filters.
func builds(t testing.TB) (modules []*wasmhost.Module) {
	t.Helper()
	for _, name := range []string{"spillway.wasm", "spillway-release.wasm"} {
		m, err := wasmhost.Compile(context.Background(), harness.InRepository(t, "build/"+name))
		if err != nil {
			t.Fatalf("%v: run `make wasm wasm-release`", err)
		}
		modules = append(modules, m)
	}
	return modules
}

// checkSays compares what spillway-check says of a configuration with what the filter has logged.
func checkSays(t *testing.T, bad string, logged []wasmhost.LogLine) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bad.json")
	if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
		t.Fatal(err)
	}
	all, err := find.File(path)
	if err != nil {
		t.Fatal(err)
	}
	_, problems := all[0].Check()
	for i := range problems {
		_, line, _ := strings.Cut(problems[i], ".json:")
		_, problems[i], _ = strings.Cut(line, ": ")
	}
	var lines []string
	for _, line := range logged {
		lines = append(lines, line.Message)
	}
	_, refused, _ := strings.Cut(strings.Join(lines, "\n"), "the configuration is refused:\n")
	if want := "spillway: " + strings.Join(problems, "\nspillway: "); refused != want {
		t.Errorf("%.100s\nspillway-check: %s\nthe filter:     %s", bad, want, refused)
	}
}

// What a configuration is refused for is said in the same words by both, and by spillway-check, which puts file and line before them.
func TestBothBuildsRefuseTheSame(t *testing.T) {
	modules := builds(t)
	for _, bad := range []string{
		`{`, `[]`, `{"limits":[{"name":"a"}]}`, `{"limits":[{"name":"a","unit":"tokens","quantity":1.5,"window":"1x"}],"mod":1}`,
		`{"usage":{"promptTokensPerByte":-1e-9,"outputTokens":1e300,"cost":[{"models":[],"prompt":1e999}]}}`,
		`{"upstreams":[{"name":"u","throttle":{"qps":{"sigmas":-0.1,"factor":0}},"latency":{"ttft":"-1ms","itl":"1h1h"}}]}`,
		`{"namespace":"` + strings.Repeat("é", 300) + `","requestHold":"` + "\u0000" + `"}`, strings.Repeat("[", 20_000),
	} {
		var said [2]string
		for i, m := range modules {
			h := wasmhost.NewHost(m, wasmhost.Options{})
			if _, err := h.StartVM(nil, []byte(bad)); err == nil {
				t.Errorf("%.100s is accepted", bad)
			}
			said[i] = strings.Join(metrics(h), "\n")
			checkSays(t, bad, h.Logs())
		}
		if said[0] != said[1] || said[0] == "" {
			t.Errorf("%.100s\nstock Go: %s\nTinyGo:   %s", bad, said[0], said[1])
		}
	}
}

func TestBothBuildsDoTheSame(t *testing.T) {
	modules := builds(t)
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			stock, tiny := play(t, modules[0], seed), play(t, modules[1], seed)
			for i := range min(len(stock), len(tiny)) {
				if stock[i] != tiny[i] {
					t.Fatalf("line %d differs:\nstock Go: %.3000s\nTinyGo:   %.3000s", i, stock[i], tiny[i])
				}
			}
			if len(stock) != len(tiny) || len(stock) < requests {
				t.Errorf("stock Go: %d lines, TinyGo: %d", len(stock), len(tiny))
			}
		})
	}
}

// traffic is what comes to a filter: the same for the same seed, whatever the filter does with it.
type traffic struct{ *rand.Rand }

func (r traffic) one(of ...string) string { return of[r.IntN(len(of))] }

// number is one of those that are read in different ways.
func (r traffic) number() string {
	return r.one("76", "76", "76", "0", "-0", "-7", "7.5", "1.5e2", "1E+2", "1e400", "9223372036854775808", "18446744073709551616",
		"0.1", "007", "\"76\"", "null", "1e-7", "4294967296")
}

// spoil damages a text now and then.
func (r traffic) spoil(text string) string {
	at := r.IntN(len(text))
	switch r.IntN(12) {
	case 0:
		return text[:at]
	case 1:
		return text[:at] + string(rune(r.IntN(0x3000))) + text[at:]
	case 2:
		return text[:at] + r.one("\\u00e9", "\\ud83d\\ude00", "\\ud83d", "\xff\xfe", "\x00", strings.Repeat("[", 3000)) + text[at:]
	}
	return text
}

func (r traffic) ask() (headers [][2]string, body string) {
	path := r.one("/v1/chat/completions", "/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1/embeddings", "/api/chat",
		"/v1beta/models/m-1:streamGenerateContent?alt=sse", "/v1%2Fchat/completions", "/V1//completions", "/health")
	body = fmt.Sprintf(`{"model":"m-%d","stream":%v,"max_tokens":%s,"n":%s,"messages":[{"role":"user","content":"%s"}],"options":{"num_predict":%s}}`,
		r.IntN(4), r.one("true", "false"), r.number(), r.one("1", "2", r.number()), strings.Repeat("héllo ", r.IntN(200)), r.number())
	headers = [][2]string{{":method", "POST"}, {":path", path}, {":authority", "llm"}, {"content-type", "application/json"},
		{"x-user-id", r.one("ann", "bob", "Zoë", "a,b")}, {"x-tenant-id", r.one("t1", "t2")},
		{"x-priority", r.one("urgent", "high", "normal", "low", "?")}, {"x-slo-ttft-ms", r.one("500", "0.5", "1e3", "x")}}
	if r.IntN(4) == 0 {
		headers = append(headers, [2]string{"x-spillway-max-wait", r.one("500", "2s", "0", "1h", "100ms,2s", "-5000000000000000000", "soon", "٥")},
			[2]string{"x-spillway-queue", r.one("yes", "yes", "no", "?")}, [2]string{"x-gateway-inference-objective", r.one("chat", "batch", "chat,batch", "Chat")},
			[2]string{"x-flow", r.one("a", "b", "a,b", "")})
	}
	return headers, r.spoil(body)
}

func (r traffic) answer() (status string, events bool, body string) {
	usage := fmt.Sprintf(`"usage":{"prompt_tokens":%s,"completion_tokens":%s,"total_tokens":%s,"input_tokens":%s,"output_tokens":%s,`+
		`"prompt_tokens_details":{"cached_tokens":%s},"completion_tokens_details":{"reasoning_tokens":%s}}`,
		r.number(), r.number(), r.number(), r.number(), r.number(), r.number(), r.number())
	status = r.one("200", "200", "200", "200", "200", "429", "503", "500", "400")
	if r.IntN(2) == 0 {
		return status, false, r.spoil(`{"id":"x","model":"m-1-2026","choices":[{"index":0,"message":{"content":"hi"}}],` + usage + `}`)
	}
	var b strings.Builder
	for range r.IntN(20) {
		b.WriteString(r.spoil(`data: {"model":"m-1-2026","choices":[{"index":0,"delta":{"content":"w"}}]}` + r.one("\n\n", "\r\n\r\n", "\r\r")))
	}
	b.WriteString("data: {\"choices\":[]," + usage + "}\n\ndata: [DONE]\n\n")
	return status, true, b.String()
}

// play sends the seed's traffic through a build, and says what came of it.
func play(t *testing.T, m *wasmhost.Module, seed uint64) (lines []string) {
	h := wasmhost.NewHost(m, wasmhost.Options{AllowOnHeadersStopIteration: true})
	vm, err := h.StartVM(nil, []byte(settings))
	if err != nil {
		t.Fatal(err, h.Logs())
	}
	defer vm.Kill()
	r := traffic{rand.New(rand.NewPCG(seed, 1))}
	type exchange struct {
		*wasmhost.Stream
		status, body string
		events       bool
	}
	var open []exchange
	for range requests {
		headers, body := r.ask()
		e := exchange{Stream: vm.NewStream()}
		e.status, e.events, e.body = r.answer()
		e.RequestHeaders(headers, false)
		cut := r.IntN(len(body) + 1)
		e.RequestBody([]byte(body[:cut]), false)
		e.RequestBody([]byte(body[cut:]), true)
		open = append(open, e)
		h.Advance(time.Duration(r.IntN(400)) * time.Millisecond)
		vm.Tick()
		if len(open) < 4 {
			continue
		}
		e, open = open[0], open[1:]
		if e.UpstreamEnd {
			e.ResponseHeaders([][2]string{{":status", e.status}, {"content-type", map[bool]string{true: "text/event-stream", false: "application/json"}[e.events]}}, false)
			h.Advance(time.Duration(r.IntN(2000)) * time.Millisecond)
			cut := r.IntN(len(e.body) + 1)
			e.ResponseBody([]byte(e.body[:cut]), false)
			e.ResponseBody([]byte(e.body[cut:]), true)
		} else {
			h.Advance(time.Duration(r.IntN(2000)) * time.Millisecond)
			r.IntN(len(e.body) + 1)
		}
		e.Done()
		lines = append(lines, tell(e.Stream))
	}
	for _, e := range open {
		e.Done()
		lines = append(lines, tell(e.Stream))
	}
	if err := vm.Err(); err != nil {
		t.Error("the VM died:", err)
	}
	return append(lines, metrics(h)...)
}

// tell is what everybody has seen of a stream.
func tell(s *wasmhost.Stream) string {
	line := fmt.Sprintf("to the client %s %q %q; to the upstream %q %q; filter state", s.ClientStatus, s.ClientHeaders, s.ClientBody,
		s.UpstreamHeaders, s.UpstreamBody)
	for _, name := range slices.Sorted(maps.Keys(s.FilterState)) {
		line += fmt.Sprintf(" %s=%q", name, s.FilterState[name])
	}
	return line
}

// metrics are all of a host's, and what it logged but for the version, which is each build's own.
func metrics(h *wasmhost.Host) (lines []string) {
	for _, name := range h.MetricNames() {
		lines = append(lines, fmt.Sprint(name, " ", h.Counter(name), " ", h.Gauge(name), " ", h.Histogram(name)))
	}
	for _, line := range h.Logs() {
		if !strings.Contains(line.Message, ": configured, namespace ") {
			lines = append(lines, fmt.Sprint(line.Level, " ", line.Message))
		}
	}
	return lines
}
