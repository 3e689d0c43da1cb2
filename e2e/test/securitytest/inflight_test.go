package securitytest

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
)

// crowd is a server of streams that knows how many of them it has at once. A stream ends when it is released, or at once.
type crowd struct {
	mu        sync.Mutex
	now, most map[string]int // by user and by key
	gate      chan struct{}  // nil: nothing is held
}

func newCrowd() *crowd { return &crowd{now: map[string]int{}, most: map[string]int{}} }

// hold makes streams last until the function is called that it gives.
func (c *crowd) hold() (release func()) {
	gate := make(chan struct{})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gate = gate
	return sync.OnceFunc(func() { close(gate) })
}

func (c *crowd) come(r *http.Request, n int) (gate chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, subject := range []string{r.Header.Get("x-user-id"), r.Header.Get("x-api-key"), "all"} {
		c.now[subject] += n
		c.most[subject] = max(c.most[subject], c.now[subject])
	}
	return c.gate
}

func (c *crowd) has(subject string) (now, most int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now[subject], c.most[subject]
}

// ServeHTTP streams what is asked for by POST. It counts a stream no more before its end is sent, so that what it counts is never more than
// what is under way.
func (c *crowd) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if _, _ = io.Copy(io.Discard, r.Body); r.Method == http.MethodGet {
		return
	}
	gate := c.come(r, 1)
	defer c.come(r, -1)
	w.Header().Set("content-type", "text/event-stream")
	_, _ = io.WriteString(w, `data: {"choices":[{"index":0,"delta":{"role":"assistant","content":"a"}}]}`+"\n\n")
	_ = http.NewResponseController(w).Flush()
	switch {
	case r.Header.Get("x-act") == "pour": // more than anybody keeps back, to a client that may not read
		for r.Context().Err() == nil {
			_, _ = io.WriteString(w, strings.Repeat(`data: {"choices":[{"index":0,"delta":{"content":"lorem ipsum"}}]}`+"\n\n", 1000))
		}
	case gate != nil:
		select {
		case <-gate:
		case <-r.Context().Done():
		}
	}
}

// stream asks for a stream and reads it to its end.
func (g *gateway) stream(t *testing.T, headers ...string) (status int, reason string) {
	t.Helper()
	a := g.send(t, "POST", chatPath, `{"model":"llama","stream":true,"messages":[]}`, headers...)
	return a.status, a.reason()
}

const fourOf = `{"limits":[{"name":"user","per":["user"],"unit":"inflight","quantity":4}%s]}`

// However many streams a user opens in parallel, over all workers, exactly as many get through as may be under way.
func TestExactlyAsManyStreamsAtOnceAsMayBe(t *testing.T) {
	t.Parallel()
	const most, clients, waves = 4, 24, 4
	for _, workers := range []int{1, 3} {
		t.Run(fmt.Sprint(workers, " workers"), func(t *testing.T) {
			t.Parallel()
			server := newCrowd()
			g := start(t, harness.Options{Concurrency: workers, Config: fmt.Sprintf(fourOf, "")}, server)
			for wave := range waves {
				release := server.hold()
				var mu sync.Mutex
				statuses := map[string]int{}
				count := func(of string) int { mu.Lock(); defer mu.Unlock(); return statuses[of] }
				var all sync.WaitGroup
				for range clients {
					all.Go(func() {
						status, reason := g.stream(t, "x-user-id: ann")
						mu.Lock()
						defer mu.Unlock()
						statuses[fmt.Sprint(status, " ", reason)]++
					})
				}
				harness.Await(t, patience, "all that are too many are refused", func() bool {
					return count("429 limits/inflight_exceeded") >= clients-most
				})
				harness.Await(t, patience, "all that may be are at the server", func() bool { now, _ := server.has("ann"); return now == most })
				release()
				all.Wait()
				if count("200 ") != most || count("429 limits/inflight_exceeded") != clients-most {
					t.Errorf("wave %d: %v", wave, statuses)
				}
			}
			if _, peak := server.has("ann"); peak != most {
				t.Errorf("%d streams at once at the server, want %d", peak, most)
			}
		})
	}
}

// Several names of one client, and several limits: the server never has more at once than any of the limits lets through, whoever asks; and
// when all have ended, everybody has all places.
func TestAStormOfStreamsPassesNoLimit(t *testing.T) {
	t.Parallel()
	for _, workers := range []int{1, 3} {
		t.Run(fmt.Sprint(workers, " workers"), func(t *testing.T) {
			t.Parallel()
			server := newCrowd()
			g := start(t, harness.Options{Concurrency: workers, Config: fmt.Sprintf(fourOf, `,
				{"name":"key","per":["key"],"unit":"inflight","quantity":5},{"name":"all","unit":"inflight","quantity":7}`)}, server)
			who := func(i int) []string {
				return []string{fmt.Sprint("x-user-id: user", i%4), fmt.Sprint("x-api-key: key", i%2)}
			}
			var all sync.WaitGroup
			for i := range 24 {
				all.Go(func() {
					for range 10 {
						if status, reason := g.stream(t, who(i)...); status != 200 && reason != "limits/inflight_exceeded" {
							t.Errorf("%d %s", status, reason)
						}
					}
				})
			}
			all.Wait()
			for subject, most := range map[string]int{"user0": 4, "user1": 4, "user2": 4, "user3": 4, "key0": 5, "key1": 5, "all": 7} {
				if _, peak := server.has(subject); peak > most || peak == 0 {
					t.Errorf("%s: %d at once, %d may be", subject, peak, most)
				}
			}
			release := server.hold()
			var last sync.WaitGroup
			for range 4 {
				last.Go(func() { // a request can be refused too early, while another one is being refused: it asks again
					harness.Await(t, patience, "one of the last is let through", func() bool { status, _ := g.stream(t, who(0)...); return status == 200 })
				})
			}
			harness.Await(t, patience, "all places of a user are taken", func() bool { now, _ := server.has("user0"); return now == 4 })
			release()
			last.Wait()
		})
	}
}

// A client that hangs up frees its place, whatever its request was doing; one that doesn't read what it asked for keeps its own.
func TestClientsThatHangUpFreeTheirPlaces(t *testing.T) {
	t.Parallel()
	server := newCrowd()
	g := start(t, harness.Options{}, server)
	defer server.hold()()
	const streamed = "POST " + chatPath + " HTTP/1.1\r\nhost: llm\r\ncontent-length: 79\r\nx-user-id: "
	for _, test := range []struct {
		name, more, rest, act string
	}{
		{"in an upload", "", chatBody[:20], ""},
		{"before the upload", "", "", ""},
		{"in a stream", "", chatBody, ""},
		{"in a stream that it doesn't read", "", chatBody, "pour"},
		{"while it waits", `],"upstreams":[{"name":"u","concurrency":{"max":1}}`, chatBody, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			config := fmt.Sprintf(fourOf, "")
			if test.more != "" {
				config = strings.Replace(config, "]}", test.more+"]}", 1)
			}
			holds(t, g.Envoy, config, func(t *testing.T, hold harness.Hold) {
				user := strings.ReplaceAll(fmt.Sprint(test.name, hold), " ", "")
				var open []*raw
				harness.Await(t, patience, "all places are taken", func() bool {
					c := dial(t, g.Envoy)
					c.write(streamed + user + "\r\nx-act: " + test.act + "\r\n\r\n" + test.rest)
					open = append(open, c)
					return g.tooMany(t, user)
				})
				if len(open) < 4 {
					t.Errorf("all places are taken by %d", len(open))
				}
				for _, c := range open {
					_ = c.Close()
				}
				harness.Await(t, patience, "the places are free", func() bool { return !g.tooMany(t, user) })
			})
		})
	}
}

// tooMany says whether a user has as much under way as may be. A request without a body asks, and waits for nothing.
func (g *gateway) tooMany(t *testing.T, user string) bool {
	t.Helper()
	a := g.send(t, "GET", "/v1/models", "", "x-user-id: "+user)
	if a.status == 429 && a.reason() != "limits/inflight_exceeded" {
		t.Fatalf("%d %s", a.status, a.body)
	}
	return a.status == 429
}

// A VM that dies gives back its streams' places within two lease periods.
func TestADeadVMsPlacesComeBack(t *testing.T) {
	t.Parallel()
	const bound = 20 * time.Second
	wasm, err := envoyproc.LocateTrapWasm()
	if err != nil {
		t.Fatal(err)
	}
	server := newCrowd()
	g := start(t, harness.Options{Wasm: wasm, Config: fmt.Sprintf(fourOf, "")}, server)
	defer server.hold()()
	for range 4 {
		c := dial(t, g.Envoy)
		c.head(chatPath, "ann", "content-length", "79")
		c.write(chatBody)
	}
	harness.Await(t, patience, "all are at the server", func() bool { now, _ := server.has("ann"); return now == 4 })
	if !g.tooMany(t, "ann") {
		t.Error("a place is free, while all four are under way")
	}
	if a := g.send(t, "GET", "/v1/models", "", "x-user-id: eve", "x-spillway-trap: die"); a.status != 503 {
		t.Fatalf("the VM lives: %d", a.status)
	}
	died := time.Now()
	harness.Await(t, patience, "the dead VM's places are free", func() bool {
		asked := time.Now()
		a := g.send(t, "GET", "/v1/models", "", "x-user-id: ann")
		if a.status == 429 && asked.Sub(died) > bound {
			t.Fatalf("refused %v after the VM's death", asked.Sub(died))
		}
		return a.status == 200
	})
}

// In shadow mode all pass, and the access log says which of them would not.
func TestAShadowOfStreamsAtOnce(t *testing.T) {
	t.Parallel()
	const most, clients = 4, 10
	server := newCrowd()
	g := start(t, harness.Options{Concurrency: 3, Config: strings.Replace(fmt.Sprintf(fourOf, ""), `{"limits"`, `{"mode":"shadow","limits"`, 1)}, server)
	release := server.hold()
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			if status, reason := g.stream(t, "x-user-id: ann"); status != 200 || reason != "" {
				t.Errorf("%d %s", status, reason)
			}
		})
	}
	harness.Await(t, patience, "all are at the server", func() bool { now, _ := server.has("ann"); return now == clients })
	release()
	all.Wait()
	shadowed := 0
	for _, record := range g.AccessLog(clients) {
		if record.Text("decision") == "SHADOW" && record.Text("reason") == "inflight_exceeded" {
			shadowed++
		}
	}
	if shadowed != clients-most {
		t.Errorf("%d would have been refused, want %d", shadowed, clients-most)
	}
}
