package envoytest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
)

const (
	largeSize = 100_000_000 // bytes of a body that is larger than anything may hold
	warmSize  = 2_000_000   // the same before, so that the code is compiled and the pools are filled

	// A client that reads slowly makes Envoy hold as much as this for it. The 32 MiB of standalone.yaml would hide what
	// the filter holds; what is held of a request must fit, 1 MiB by default, and the piece with which it turns out to be
	// too large.
	connectionBuffer = 16 * megabyte
	// first is as much of a request as is sent before the server has its beginning: then it is known to be too large, and is
	// held no more. A machine that is busy enough lets Envoy read all that comes in one piece, up to the limit above, which would be
	// too much with what is held: 413.
	first = megabyte * 3 / 2
	// clusterBuffer is Envoy's default of the same, for the server's side.
	clusterBuffer = megabyte

	// mostVM bounds a VM's memory, however many streams of whatever length it reads: of a body it has the piece that is
	// being read, which is then garbage. A VM at rest has 4.5 MiB. The collector begins at 4 MiB, and what comes while it is
	// at work stays for its next round, another 4 MiB. That makes 12.5 MiB, and 11.5 to 16 are measured. On a busy machine
	// Envoy gets what the kernel has gathered meanwhile in one piece, of MiB, and 26 were; a body that was held would take 100.
	mostVM = 48 * megabyte

	// mostPerStream bounds what the process grows by for each stream, besides the VM: what Envoy may hold for its two
	// connections, on the way in and on the way out. A full buffer stops its sender, after one more reading at most, so it
	// is twice that. It takes a slow client to come to this; measured are 2 to 5 MiB for all streams together.
	mostPerStream = 2 * (2*connectionBuffer + 2*clusterBuffer)
)

// largeConfig limits prompts, too: a request that is not read is charged by its size.
const largeConfig = `{
	"usage": {"maxRequestBytes": 1048576, "promptTokensPerByte": 0.25, "outputTokens": 256},
	"limits": [{"name": "tokens", "per": ["user"], "unit": "totalTokens", "quantity": 1000000000, "window": "720h"}]
}`

// message makes a body; those whose length is not fixed are of about size bytes.
type message func(size int) io.Reader

// exchange is a request and its answer, of which one is very large or very deep.
type exchange struct {
	name    string
	request message
	sized   bool // the request has a content-length
	events  bool
	answer  message
	record  map[string]string // what is then in the access log
}

const (
	smallAnswer = `{"model":"m","choices":[{"message":{"content":"hello"}}],` + smallUsage + `}`
	emptyAnswer = `{"choices":[]}` // without a usage
	smallUsage  = `"usage":{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8}`
	largeEvent  = `data: {"id":"chatcmpl-8f14e45fceea167a5a36dedd4bea2543","object":"chat.completion.chunk","created":1767225600,` +
		`"model":"llama-3","choices":[{"index":0,"delta":{"content":"token "},"finish_reason":null}],"usage":null}` + "\n\n"
)

// Each exchange has a model of its own, so that nothing was learned of it and estimates stay where they start: a token for
// four bytes of a request, 256 for an answer.
func exchanges() []exchange {
	read := func(source, completion string) map[string]string {
		return map[string]string{"decision": "ALLOWED", "usage_source": source, "completion_tokens": completion}
	}
	cut := func(model string) map[string]string { // what was found before is used
		return map[string]string{
			"decision": "ALLOWED", "request_model": model, "usage_source": "estimated",
			"prompt_tokens": strconv.Itoa(largeSize / 4), "completion_tokens": "256",
		}
	}
	return []exchange{
		{name: "random bytes for events", request: asks("garbage"), events: true, answer: randomBytes, record: read("estimated", "256")},
		{name: "an event of one endless line", request: asks("line"), events: true,
			answer: filled(`data: {"choices":[{"delta":{"content":"`, "x", ""), record: read("estimated", "256")},
		{name: "endless events", request: asks("events"), events: true, answer: filled("", largeEvent, ""),
			record: read("counted", strconv.Itoa(largeSize/len(largeEvent)))},
		{name: "an answer of one string", request: asks("string"),
			answer: filled(`{"choices":[{"message":{"content":"`, "x", `"}}],`+smallUsage+`}`), record: read("reported", "5")},
		{name: "a request in chunks", answer: fixed(emptyAnswer), record: cut("chunks"),
			request: filled(`{"model":"chunks","messages":["`, "x", `"]}`)},
		{name: "a request with a content-length", answer: fixed(emptyAnswer), record: cut("sized"), sized: true,
			request: filled(`{"model":"sized","messages":["`, "x", `"]}`)},
	}
}

// deepExchanges are nested as deep as a document may be, which is read, and deeper, of which what was found before is used.
func deepExchanges() []exchange {
	deep := func(begin string, depth int, end string) message {
		return fixed(begin + strings.Repeat("[", depth-1) + strings.Repeat("]", depth-1) + end)
	}
	var list []exchange
	for _, c := range []struct {
		depth         int
		model, source string
	}{{10_000, "deep", "reported"}, {10_001, "deep", "estimated"}, {20_000, "deep", "estimated"}} {
		list = append(list,
			exchange{name: fmt.Sprintf("a request %d deep", c.depth), answer: fixed(emptyAnswer),
				request: deep(`{"model":"deep","messages":`, c.depth, `}`),
				record:  map[string]string{"decision": "ALLOWED", "request_model": c.model, "usage_source": "estimated"}},
			exchange{name: fmt.Sprintf("an answer %d deep", c.depth), request: asks("answer"),
				answer: deep(`{"deep":`, c.depth, `,`+smallUsage+`}`),
				record: map[string]string{"decision": "ALLOWED", "request_model": "answer", "usage_source": c.source}})
	}
	return list
}

// What passes costs no memory, however much it is, whatever it is, and with others at once.
func TestLargeBodiesPassInBoundedMemory(t *testing.T) {
	t.Parallel()
	large, deep := exchanges(), deepExchanges()
	server := &echo{exchanges: map[string]exchange{}}
	for _, x := range append(large, deep...) {
		server.exchanges[x.name] = x
	}
	// One worker, so that one VM reads all of them.
	g := &gateway{Envoy: harness.Start(t, harness.Options{Config: largeConfig, Upstream: harness.Serve(t, server), Edit: func(b *envoyproc.Bootstrap) {
		b.Set(connectionBuffer, "static_resources", "listeners", envoyproc.Named(envoyproc.Gateway), "per_connection_buffer_limit_bytes")
	}})}

	pass(t, g, server, "warm", warmSize, append(large, deep...))
	before, vm := g.MemoryRSS(), g.LargestVM()
	if meanwhile := pass(t, g, server, "", largeSize, large); meanwhile != len(large) {
		t.Errorf("%d requests were served while large bodies passed, want %d", meanwhile, len(large))
	}
	pass(t, g, server, "", largeSize, deep)

	grown, most := int64(peakRSS(t, g))-int64(before), int64(len(large)*mostPerStream+mostVM)
	vmAfter := g.LargestVM()
	t.Logf("Envoy's memory was %d MiB and grew by %.1f MiB at most; a VM's was %.2f MiB, and is %.2f MiB",
		before/megabyte, float64(grown)/megabyte, float64(vm)/megabyte, float64(vmAfter)/megabyte)
	if grown > most {
		t.Errorf("Envoy grew by %d bytes, want at most %d", grown, most)
	}
	if vmAfter > mostVM {
		t.Errorf("a VM has %d bytes, want at most %d", vmAfter, mostVM)
	}
	for _, x := range append(large, deep...) {
		t.Run(x.name, func(t *testing.T) { g.logged(t, x.name).Want(t, x.record) })
	}
	wantUnharmed(t, g)
}

// wantUnharmed: nothing went wrong in the filter, and it was charged for everything. Answers that are nested too deep for anybody
// are counted as unread.
func wantUnharmed(t *testing.T, g *gateway) {
	t.Helper()
	for _, name := range []string{"wasmcustom.spillway_errors_total", "wasmcustom.spillway_uncharged_total", "wasm.spillway.vm_reload"} {
		for stat, value := range g.Stats(name) {
			if unread := strings.HasSuffix(stat, ";reason=response_unread"); value != 0 && !unread {
				t.Errorf("%s is %d, want 0", stat, value)
			}
		}
	}
}

// pass makes exchanges, all at once, and checks that nothing of them was lost. It returns how many small requests were
// served while one of them was halfway. The access log has them under their names behind prefix.
func pass(t *testing.T, g *gateway, server *echo, prefix string, size int, list []exchange) int {
	t.Helper()
	var meanwhile atomic.Int64
	var all sync.WaitGroup
	for _, x := range list {
		all.Go(func() {
			halfway := sync.OnceFunc(func() {
				if err := ask(t, g); err != nil {
					t.Errorf("a request while %s passes: %v", x.name, err)
					return
				}
				meanwhile.Add(1)
			})
			if err := makeExchange(t, g, server, x, prefix, size, halfway); err != nil {
				t.Errorf("%s: %v", x.name, err)
			}
		})
	}
	all.Wait()
	return int(meanwhile.Load())
}

// ask sends a small request.
func ask(t *testing.T, g *gateway) error {
	a, err := g.try(newRequest(t, http.MethodPost, g.URL+chatPath, user("meanwhile"), strings.NewReader(chatBody)))
	if err == nil && (a.status != http.StatusOK || string(a.body) != smallAnswer) {
		err = errors.New(a.String())
	}
	return err
}

func makeExchange(t *testing.T, g *gateway, server *echo, x exchange, prefix string, size int, halfway func()) error {
	sent, got := new(digest), new(digest)
	length := int64(-1)
	if x.sized {
		length, _ = io.Copy(io.Discard, x.request(size))
	}
	begun := func() bool { _, is := server.begun.Load(prefix + x.name); return is }
	body := io.TeeReader(&patient{Reader: x.request(size), left: first, ctx: t.Context(), begun: begun}, io.MultiWriter(sent, &mark{left: size / 2, reached: halfway}))
	request := newRequest(t, http.MethodPost, g.URL+chatPath,
		user(x.name, "traceparent", prefix+x.name, exchangeHeader, x.name, sizeHeader, strconv.Itoa(size)), body)
	request.ContentLength = length
	response, err := g.Client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if _, err := io.Copy(io.MultiWriter(got, &mark{left: size / 2, reached: halfway}), response.Body); err != nil {
		return fmt.Errorf("after %v of the answer: %w", got, err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", response.StatusCode)
	}
	if received := response.Header.Get(receivedHeader); received != sent.String() {
		return fmt.Errorf("the server received %s, the client sent %v", received, sent)
	}
	if answered, _ := server.sent.Load(prefix + x.name); answered != got.String() {
		return fmt.Errorf("the client received %v, the server sent %v", got, answered)
	}
	return nil
}

const (
	exchangeHeader = "x-exchange"
	sizeHeader     = "x-size"
	receivedHeader = "x-received"
)

// patient keeps what comes after the first bytes back until the server has begun to read.
type patient struct {
	io.Reader
	left  int
	ctx   context.Context
	begun func() bool
}

// Read implements io.Reader.
func (p *patient) Read(b []byte) (int, error) {
	for p.left == 0 && !p.begun() {
		select {
		case <-p.ctx.Done():
			return 0, p.ctx.Err()
		case <-time.After(envoyproc.PollInterval):
		}
	}
	if p.left > 0 {
		b = b[:min(len(b), p.left)]
	}
	n, err := p.Reader.Read(b)
	p.left = max(p.left-n, 0)
	return n, err
}

// echo is the server: it says what it received, and keeps notes of which requests have come, and what it sent, by their traceparents.
type echo struct {
	exchanges   map[string]exchange
	begun, sent sync.Map
}

// ServeHTTP implements http.Handler.
func (s *echo) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	received, sent := new(digest), new(digest)
	s.begun.Store(r.Header.Get("traceparent"), true)
	if _, err := io.Copy(received, r.Body); err != nil {
		return // the client reports what it lacks
	}
	x, size := s.exchanges[r.Header.Get(exchangeHeader)], 0
	if x.answer == nil {
		x.answer = fixed(smallAnswer)
	} else {
		size, _ = strconv.Atoi(r.Header.Get(sizeHeader))
	}
	w.Header().Set("Content-Type", "application/json")
	if x.events {
		w.Header().Set("Content-Type", "text/event-stream")
	}
	w.Header().Set(receivedHeader, received.String())
	if _, err := io.Copy(w, io.TeeReader(x.answer(size), sent)); err == nil {
		s.sent.Store(r.Header.Get("traceparent"), sent.String())
	}
}

// digest is how many bytes were written, and their checksum: none is kept.
type digest struct {
	bytes int64
	sum   uint32
}

// Write implements io.Writer.
func (d *digest) Write(p []byte) (int, error) {
	d.bytes += int64(len(p))
	d.sum = crc32.Update(d.sum, crc32.IEEETable, p)
	return len(p), nil
}

func (d *digest) String() string { return fmt.Sprintf("%d bytes, checksum %08x", d.bytes, d.sum) }

// mark calls a function at a certain byte of what is written.
type mark struct {
	left    int
	reached func()
}

// Write implements io.Writer.
func (m *mark) Write(p []byte) (int, error) {
	if m.left -= len(p); m.left <= 0 {
		m.reached()
	}
	return len(p), nil
}

func fixed(text string) message {
	return func(int) io.Reader { return strings.NewReader(text) }
}

// asks is a small request for a model's answer.
func asks(model string) message {
	return fixed(fmt.Sprintf(`{"model":%q,"messages":[]}`, model))
}

func randomBytes(size int) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{}), int64(size))
}

// filled makes bodies of exactly the size or, where fill doesn't divide what is left, of as many of it as fit.
func filled(begin, fill, end string) message {
	block := bytes.Repeat([]byte(fill), max(1, 32<<10/len(fill)))
	return func(size int) io.Reader {
		times := (size - len(begin) - len(end)) / len(fill)
		return io.MultiReader(strings.NewReader(begin), &repeated{block: block, left: times * len(fill)}, strings.NewReader(end))
	}
}

// repeated is a block over and over.
type repeated struct {
	block    []byte
	at, left int
}

// Read implements io.Reader.
func (r *repeated) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), r.left)], r.block[r.at:])
	r.at, r.left = (r.at+n)%len(r.block), r.left-n
	return n, nil
}

// peakRSS is the most memory that Envoy has had resident so far, in bytes.
func peakRSS(t *testing.T, g *gateway) uint64 {
	t.Helper()
	_, after, _ := strings.Cut(processFile(t, g, "status"), "VmHWM:")
	kilobytes, err := strconv.ParseUint(strings.Fields(after + " ?")[0], 10, 64)
	if err != nil {
		t.Fatalf("read Envoy's peak of memory: %v", err)
	}
	return kilobytes << 10
}

func processFile(t *testing.T, g *gateway, name string) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", g.PID(), name))
	if err != nil {
		t.Fatalf("look at Envoy's process: %v", err)
	}
	return string(text)
}
