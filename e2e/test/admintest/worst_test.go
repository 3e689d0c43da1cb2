package admintest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
)

// dial opens a connection to the gateway.
func (g *steered) dial(t *testing.T) net.Conn {
	t.Helper()
	connection, err := net.DialTimeout("tcp", strings.TrimPrefix(g.URL, "http://"), harness.Patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	return connection
}

// patchHead is what a change's head has, but for the end.
const patchHead = "PATCH /spillway/overrides HTTP/1.1\r\nhost: x\r\nauthorization: Bearer " + steeringToken + "\r\ncontent-type: application/json\r\n"

// answered reads the next answer of a connection.
func answered(t *testing.T, from *bufio.Reader) answer {
	t.Helper()
	response, err := http.ReadResponse(from, nil)
	if err != nil {
		t.Error(err)
		return answer{}
	}
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Error(err)
	}
	return answer{response.StatusCode, response.Header, string(text)}
}

// Whatever is sent as a change, by whoever has a token or not: it is answered as it should be, keeps no memory, and changes nothing.
func TestWorstBodies(t *testing.T) {
	t.Parallel()
	for _, workers := range []int{1, 4} {
		t.Run(fmt.Sprint(workers, " workers"), func(t *testing.T) {
			t.Parallel()
			g := steer(t, workers)
			before := g.overridden(t)
			t.Run("announced too large", g.announced)
			t.Run("large in chunks", g.chunked)
			t.Run("truncated", g.truncated)
			t.Run("hung up", g.hungUp)
			t.Run("pipelined", g.pipelined)
			if after := g.overridden(t); after != before {
				t.Errorf("%s is now %s", before, after)
			}
			if counted := g.Sum("spillway_requests_total"); counted != 2 {
				t.Errorf("%v are counted as traffic, want the 2 of who pipelines", counted)
			}
		})
	}
}

// announced says how much will come: no byte of it is waited for.
func (g *steered) announced(t *testing.T) {
	for _, token := range []string{steeringToken, "a guess"} {
		want := map[bool]int{true: 413, false: 403}[token == steeringToken]
		for _, length := range []string{"10485760", "9223372036854775807"} {
			c := g.dial(t)
			_, _ = io.WriteString(c, strings.Replace(patchHead, steeringToken, token, 1)+"content-length: "+length+"\r\n\r\n{")
			if a := answered(t, bufio.NewReader(c)); a.status != want {
				t.Errorf("%s bytes by %q: %d %s", length, token, a.status, a.body)
			}
		}
	}
}

// chunked doesn't say how much will come, and many do at once: what is kept of them is bounded.
func (g *steered) chunked(t *testing.T) {
	const clients, most = 96, 80 << 20
	piece := "10000\r\n" + strings.Repeat("x", 1<<16) + "\r\n"
	send := func() {
		c := g.dial(t)
		defer func() { _ = c.Close() }()
		go func() { // until it's answered, and nobody reads on
			_, _ = io.WriteString(c, patchHead+"transfer-encoding: chunked\r\n\r\n")
			for range 160 {
				if _, err := io.WriteString(c, piece); err != nil {
					return
				}
			}
		}()
		if a := answered(t, bufio.NewReader(c)); a.status != http.StatusRequestEntityTooLarge {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	before := g.LargestVM()
	for range 4 {
		var all sync.WaitGroup
		for range clients {
			all.Go(send)
		}
		all.Wait()
	}
	after := g.LargestVM()
	t.Logf("the largest VM had %d MB, has %d MB", before>>20, after>>20)
	if after > before+most {
		t.Errorf("the largest VM has grown from %d to %d MB", before>>20, after>>20)
	}
}

// truncated are JSON texts that end too early, or aren't any.
func (g *steered) truncated(t *testing.T) {
	for _, body := range []string{"", " ", "{", `{"mode":"off`, `{"mode":"off"`, `{"mode":"off"}}`, `{"mode":"off"}{}`, "null", "\x00", "\xff\xfe{}", strings.Repeat("[", 60000),
		strings.Repeat(`{"a":`, 10000), `{"mode":"\ud800"}`, `{"mode":1e999}`} {
		if status, answer := g.admin(t, http.MethodPatch, "/overrides", body); status != http.StatusUnprocessableEntity || !allJSON([]byte(answer)) {
			t.Errorf("%.20q: %d %.200s", body, status, answer)
		}
		if status, answer := g.admin(t, http.MethodPost, "/limits/few/subjects/ann", body); status != http.StatusUnprocessableEntity || !allJSON([]byte(answer)) {
			t.Errorf("a subject's, %.20q: %d %.200s", body, status, answer)
		}
	}
}

// hungUp leaves in the middle of what would be a change.
func (g *steered) hungUp(t *testing.T) {
	for range 50 {
		c := g.dial(t)
		_, _ = io.WriteString(c, patchHead+"content-length: 14\r\n\r\n"+`{"mode":"off"`)
		_ = c.Close()
	}
	if status, answer := g.admin(t, http.MethodGet, "/status", ""); status != http.StatusOK {
		t.Errorf("%d %s", status, answer)
	}
}

// pipelined are requests that come at once, on one connection: each has its answer, in order. There are two: where no upstream answers, whoever does
// it, Envoy takes no more at once, and closes the connection.
func (g *steered) pipelined(t *testing.T) {
	get := "GET /spillway/status HTTP/1.1\r\nhost: x\r\n\r\n"
	chat := fmt.Sprintf("POST %s HTTP/1.1\r\nhost: x\r\nx-user-id: pipe\r\ncontent-length: %d\r\n\r\n%s", chatPath, len(chatBody), chatBody)
	patch := patchHead + "content-length: 1\r\n\r\n{"
	for _, two := range []struct {
		requests string
		answers  [2]int
	}{{get + patch, [2]int{200, 422}}, {patch + get, [2]int{422, 200}}, {chat + get, [2]int{200, 200}}, {get + chat, [2]int{200, 200}}} {
		c := g.dial(t)
		_, _ = io.WriteString(c, two.requests)
		from := bufio.NewReader(c)
		for _, want := range two.answers {
			if a := answered(t, from); a.status != want {
				t.Errorf("%.40q...: %d %s, want %d", two.requests, a.status, a.body, want)
			}
		}
	}
}

// However a path is written: what is the surface's never reaches the upstream, what isn't is traffic, and counted.
func TestWorstPaths(t *testing.T) {
	t.Parallel()
	asIs := func(b *envoyproc.Bootstrap) {
		b.Edit(func(root map[string]any) {
			harness.Visit(root, func(o map[string]any) {
				if o["normalize_path"] != nil {
					o["normalize_path"], o["merge_slashes"], o["path_with_escaped_slashes_action"] = false, false, "KEEP_UNCHANGED"
				}
			})
		})
	}
	for name, edit := range map[string]func(*envoyproc.Bootstrap){"as shipped": nil, "without normalization": asIs} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reached := make(chan string, 100)
			upstream := harness.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { reached <- r.RequestURI }))
			g := &steered{Envoy: harness.Start(t, harness.Options{Upstream: upstream, Edit: edit, Config: `{` + admin("open") + `,"limits":[{"name":"r","unit":"requests","quantity":1000,"window":"1h"}]}`})}
			counted := 0.0
			for _, target := range []string{
				"/spillway/../v1/chat/completions", "/spillway/%2e%2e/v1/chat/completions", "/spillway/..%2fv1/models", "/spillway/..;/v1/models", "/spillway%2f..%2fv1/models",
				"//spillway/status", "/./spillway/status", "/v1/../spillway/status", "/%73pillway/status", "/spillway%2fstatus", "/spillway%00/status", `/spillway\status`, `\spillway\status`,
				"/Spillway/", "/SPILLWAY/status", "/spillwayx", "/spillwayx/../spillway/status", "/spillway;x/status", "/spillway.", "/spillway%20/status", "/spillway?x=/../v1/models", "/spillway/?/v1/models",
				"http://x/spillway/status", "http://x/spillway/../v1/models", "/spillway//status", "/spillway/./status", "/spillway/status%2f", "/spillway/status/..%2f..%2fv1/models", "/spillway/%73tatus", "/spillway/status%",
			} {
				c := g.dial(t)
				_, _ = fmt.Fprintf(c, "GET %s HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", target)
				a := answered(t, bufio.NewReader(c))
				surface := a.header.Get("x-content-type-options") == "nosniff" || a.status == http.StatusPermanentRedirect
				select {
				case path := <-reached:
					counted++
					if surface || strings.HasPrefix(path, "/spillway/") || path == "/spillway" {
						t.Errorf("%s has reached the upstream as %s", target, path)
					}
				default:
					if !surface && a.status != http.StatusBadRequest && a.status != http.StatusTemporaryRedirect {
						t.Errorf("%s: %d %s", target, a.status, a.body)
					}
				}
			}
			harness.Await(t, harness.Patience, "what reached the upstream is counted, and nothing else", func() bool { return g.Sum("spillway_requests_total") == counted })
		})
	}
}
