package securitytest

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

// speaks answers as x-make says: "late N" begins its stream after so many milliseconds, "large" has a large answer of each kind; else it
// answers at once.
func speaks() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		how := r.Header.Get("x-make")
		if late, is := strings.CutPrefix(how, "late "); is {
			ms, _ := strconv.Atoi(late)
			time.Sleep(time.Duration(ms) * time.Millisecond)
		}
		const event = `data: {"choices":[{"delta":{"content":"%s"}}]}` + "\n\n"
		if !bytes.Contains(body, []byte(`"stream":true`)) {
			w.Header().Set("content-type", "application/json")
			if how == "large" {
				_, _ = fmt.Fprintf(w, `{"choices":[{"message":{"content":"%s"}}]}`, strings.Repeat("a", 16<<20))
				return
			}
			_, _ = io.WriteString(w, `{"choices":[{"message":{"content":"a"}}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}`)
			return
		}
		w.Header().Set("content-type", "text/event-stream")
		pieces, size := 3, 1
		if how == "large" {
			pieces, size = 16<<10, 1<<10
		}
		text := fmt.Sprintf(event, strings.Repeat("a", size))
		for range pieces {
			if _, err := io.WriteString(w, text); err != nil {
				return
			}
		}
		_, _ = io.WriteString(w, "data: [DONE]\n\n")
	})
}

const streamed = `{"model":"llama","stream":true,"messages":[{"role":"user","content":"hello"}]}`

// What clients do with their own requests closes no gate for others.
func TestClientsCloseNoGates(t *testing.T) {
	t.Parallel()
	for _, workers := range []int{1, 2} {
		t.Run(fmt.Sprint(workers, " workers"), func(t *testing.T) {
			t.Parallel()
			g := start(t, harness.Options{Concurrency: workers}, speaks())
			for _, hold := range []string{"stopIteration", "none"} {
				t.Run("slow uploads, "+hold, func(t *testing.T) { uploadSlowly(t, g, hold) })
			}
			t.Run("slow readers", func(t *testing.T) { readSlowly(t, g) })
			t.Run("huge prompts", func(t *testing.T) { sendHugePrompts(t, g) })
			t.Run("clients that leave", func(t *testing.T) { leave(t, g) })
		})
	}
}

// begin sends a request's headers and the first half of its body.
func (g *gateway) begin(t *testing.T, body string, headers ...string) (connection net.Conn, rest string) {
	t.Helper()
	connection, err := net.DialTimeout("tcp", strings.TrimPrefix(g.URL, "http://"), patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	_ = connection.SetDeadline(time.Now().Add(2 * patience))
	_, err = fmt.Fprintf(connection, "POST %s HTTP/1.1\r\nhost: llm\r\ncontent-type: application/json\r\ncontent-length: %d\r\n%s\r\n\r\n%s",
		chatPath, len(body), strings.Join(headers, "\r\n"), body[:len(body)/2])
	if err != nil {
		t.Fatal(err)
	}
	return connection, body[len(body)/2:]
}

// round is what came of one try: the longest that anything took for which not the client is to blame, and what was wrong.
type round struct {
	slowest time.Duration
	wrong   []string
}

// took notes how long it is since something began.
func (r *round) took(began time.Time) { r.slowest = max(r.slowest, time.Since(began)) }

func (r *round) errorf(format string, args ...any) {
	r.wrong = append(r.wrong, fmt.Sprintf(format, args...))
}

// judge tries until nothing is slow by the machine's fault, for which gates would close, and rightly, at a bound: then nothing may be wrong.
func judge(t *testing.T, bound time.Duration, try func(t *testing.T, r *round)) {
	t.Helper()
	harness.Await(t, patience, "a round in which the machine is quick", func() bool {
		var r round
		if try(t, &r); r.slowest > bound*9/10 {
			t.Logf("once more: something took %v", r.slowest)
			return false
		}
		for _, wrong := range r.wrong {
			t.Error(wrong)
		}
		return true
	})
}

// fine wants streams to be served: first those of the client that was slow, which gates would refuse first.
func (g *gateway) fine(t *testing.T, r *round, after string) {
	t.Helper()
	for _, who := range [][]string{{"x-user-id: slow"}, {"x-user-id: slow", "x-priority: low"}, {"x-user-id: stranger"}, {"x-priority: low"}} {
		began := time.Now()
		if a := g.send(t, "POST", chatPath, streamed, who...); a.status != 200 {
			r.errorf("after %s one with %q got %d %q", after, who, a.status, a.reason())
		}
		r.took(began)
	}
}

// The waits are above the bound of the gates. Each gate is tried by itself: what another one needs of a request changes when it is sent.
const (
	bound   = 7 * time.Second
	waiting = 10 * time.Second
)

var gatesOf = map[string]string{
	"latency": `"latency":{"mode":"enforce","per":"global","ttft":"7s","itl":"7s"}`,
	"breaker": `"breaker":{"mode":"enforce","slowCall":"7s","minRequests":2,"window":"1h"}`,
}

func uploadSlowly(t *testing.T, g *gateway, hold string) {
	large := strings.Replace(streamed, "hello", strings.Repeat("x", 2<<20), 1)
	for gate, config := range gatesOf {
		for kind, body := range map[string]string{"read": streamed, "not read to its end": large} {
			t.Run(gate+", bodies "+kind, func(t *testing.T) {
				judge(t, bound, func(t *testing.T, r *round) {
					configure(t, g.Envoy, harness.Hold(hold), fresh("uploads", config))
					uploadSlowlyTo(t, g, body, r)
				})
			})
		}
	}
}

func uploadSlowlyTo(t *testing.T, g *gateway, body string, r *round) {
	var slow []net.Conn
	var rests []string
	for range 12 {
		connection, rest := g.begin(t, body, "x-user-id: slow", "connection: close")
		slow, rests = append(slow, connection), append(rests, rest)
	}
	time.Sleep(waiting) // what is slow: the client
	began := time.Now()
	for i, connection := range slow {
		go func() { _, _ = io.WriteString(connection, rests[i]) }()
	}
	for i, connection := range slow {
		response, err := http.ReadResponse(bufio.NewReader(connection), nil)
		if err != nil {
			t.Fatalf("upload %d: %v", i, err)
		}
		if _, err := io.Copy(io.Discard, response.Body); err != nil || response.StatusCode != 200 {
			r.errorf("upload %d got %d, %v", i, response.StatusCode, err)
		}
		r.took(began)
	}
	g.fine(t, r, "slow uploads")
}

func readSlowly(t *testing.T, g *gateway) {
	buffer := func(bytes int) {
		err := g.ReplaceListeners(func(listeners []map[string]any) {
			for _, listener := range listeners {
				listener["per_connection_buffer_limit_bytes"] = bytes
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	buffer(64 << 10)
	defer buffer(32 << 20)
	for gate, config := range gatesOf {
		t.Run(gate, func(t *testing.T) {
			judge(t, bound, func(t *testing.T, r *round) {
				configure(t, g.Envoy, harness.HoldStopIteration, fresh("readers", config))
				readSlowlyFrom(t, g, r)
			})
		})
	}
}

// readSlowlyFrom reads the first bytes of answers, which says when they began, and the rest when Envoy's buffers have long been full.
func readSlowlyFrom(t *testing.T, g *gateway, r *round) {
	var slow []*http.Response
	for i := range 6 {
		body := streamed
		if i%2 == 0 {
			body = hello
		}
		connection, rest := g.begin(t, body, "x-user-id: slow", "x-make: large", "connection: close")
		began := time.Now()
		if _, err := io.WriteString(connection, rest); err != nil {
			t.Fatal(err)
		}
		response, err := http.ReadResponse(bufio.NewReader(connection), nil)
		if err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
		r.took(began)
		slow = append(slow, response)
	}
	time.Sleep(waiting) // Envoy's buffers are full, and it reads no more
	for i, response := range slow {
		began := time.Now()
		if n, err := io.Copy(io.Discard, response.Body); err != nil || n < 16<<20 {
			r.errorf("answer %d: %d bytes, %v", i, n, err)
		}
		r.took(began)
	}
	g.fine(t, r, "slow readers")
}

func sendHugePrompts(t *testing.T, g *gateway) {
	refused := func(a answer) bool { return strings.HasPrefix(a.reason(), "latency/") }
	// Alone the slow one closes the gate for itself, as a server that is slow should be left alone.
	judge(t, 2*time.Second, func(t *testing.T, r *round) {
		configure(t, g.Envoy, harness.HoldStopIteration, fresh("huge", `"latency":{"mode":"enforce","per":"global","ttft":"2s","itl":"10s","timeConstant":"2m"}`))
		harness.Await(t, patience, "it is closed for the one that is slow", func() bool {
			return refused(g.send(t, "POST", chatPath, streamed, "x-api-key: slow", "x-make: late 4000"))
		})
		for i := range 3 {
			began := time.Now()
			if a := g.send(t, "POST", chatPath, streamed, fmt.Sprint("x-api-key: stranger", i)); refused(a) {
				r.errorf("a stranger got %d %q", a.status, a.reason())
			}
			r.took(began)
		}
	})
	// If all are slow it is closed for all.
	configure(t, g.Envoy, harness.HoldStopIteration, fresh("slow", `"latency":{"mode":"enforce","per":"global","ttft":"2s","itl":"10s","timeConstant":"2m"}`))
	harness.Await(t, patience, "it is closed for all when several are slow", func() bool {
		for i := range 2 {
			g.send(t, "POST", chatPath, streamed, fmt.Sprint("x-api-key: slow", i), "x-make: late 4000")
		}
		return refused(g.send(t, "POST", chatPath, streamed, "x-api-key: somebody"))
	})
}

func leave(t *testing.T, g *gateway) {
	judge(t, bound, func(t *testing.T, r *round) {
		configure(t, g.Envoy, harness.HoldStopIteration, fresh("left", gatesOf["breaker"]))
		for range 10 {
			connection, rest := g.begin(t, streamed, "x-user-id: slow", "x-make: late 300")
			if _, err := io.WriteString(connection, rest); err != nil {
				t.Fatal(err)
			}
			_ = connection.Close()
			half, _ := g.begin(t, streamed, "x-user-id: slow")
			_ = half.Close()
		}
		g.fine(t, r, "clients that left")
	})
}
