package envoytest

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"sigs.k8s.io/yaml"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
)

// A websocket passes, and counts as a request, however requests are held; but not behind Envoy's buffer filter, which waits for the end of a body
// that is never sent, unless the route turns that filter off as docs/istio.md says.
func TestWebsockets(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		hold  harness.Hold
		off   bool // the buffer filter is turned off for the route
		hangs bool
	}{
		{name: "headers are held by the filter", hold: harness.HoldStopIteration},
		{name: "nothing is held", hold: harness.HoldNone},
		{name: "behind the buffer filter", hold: harness.HoldBufferFilter, hangs: true},
		{name: "where the route turns the buffer filter off", hold: harness.HoldBufferFilter, off: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := &echoSockets{}
			options := harness.Options{Hold: test.hold, Upstream: harness.Serve(t, server), Concurrency: 2,
				Config: `{"limits": [{"name": "opened", "per": ["user"], "unit": "requests", "quantity": 2, "window": "720h"}]}`,
				Edit:   func(b *envoyproc.Bootstrap) { upgradeWebsockets(t, b, test.off) }}
			if test.hangs {
				options.StreamIdleTimeout = 2 * time.Second // which alone ends it
			}
			e := harness.Start(t, options)
			if test.hangs {
				wantDialed(t, e, http.StatusRequestTimeout)
				if n := server.opened.Load(); n != 0 {
					t.Errorf("the server saw %d websockets, want none", n)
				}
				return
			}
			wantDialed(t, e, http.StatusSwitchingProtocols)
			wantDialed(t, e, http.StatusSwitchingProtocols)
			wantDialed(t, e, http.StatusTooManyRequests)
			if n := server.opened.Load(); n != 2 {
				t.Errorf("the server saw %d websockets, want the 2 that the limit lets pass", n)
			}
		})
	}
}

const socketPath = "/v1/realtime"

// upgradeWebsockets lets Envoy upgrade to websockets. off turns the buffer filter off for their route, by the words of docs/istio.md.
func upgradeWebsockets(t *testing.T, b *envoyproc.Bootstrap, off bool) {
	manager := []any{"static_resources", "listeners", envoyproc.Named(envoyproc.Gateway), "filter_chains", 0, "filters", 0, "typed_config"}
	b.Set([]any{map[string]any{"upgrade_type": "websocket"}}, append(manager, "upgrade_configs")...)
	if !off {
		return
	}
	page, err := os.ReadFile(harness.InRepository(t, "docs/istio.md"))
	if err != nil {
		t.Fatal(err)
	}
	const begin = "```yaml\ntyped_per_filter_config:\n"
	_, text, found := bytes.Cut(page, []byte(begin))
	text, _, _ = bytes.Cut(text, []byte("```"))
	var filters map[string]any
	if err := yaml.Unmarshal(text, &filters); err != nil || !found {
		t.Fatalf("docs/istio.md has no switch: %v: %s", err, text)
	}
	routes := []any{
		map[string]any{
			"match": map[string]any{"prefix": socketPath}, "route": map[string]any{"cluster": "llm"}, "typed_per_filter_config": filters,
		},
		map[string]any{"match": map[string]any{"prefix": "/"}, "route": map[string]any{"cluster": "llm"}},
	}
	b.Set(routes, append(manager, "route_config", "virtual_hosts", 0, "routes")...)
}

// Envoy refuses by itself what it isn't told to upgrade.
func TestWebsocketsThatAreNotAllowed(t *testing.T) {
	t.Parallel()
	wantDialed(t, harness.Start(t, harness.Options{Upstream: harness.Serve(t, &echoSockets{})}), http.StatusForbidden)
}

// wantDialed opens a websocket, and wants this status. One that is open has its words come back.
func wantDialed(t *testing.T, e *harness.Envoy, want int) {
	t.Helper()
	dialer := ws.Dialer{Timeout: patience, Header: ws.HandshakeHeaderHTTP{"x-user-id": {"sam"}}}
	connection, _, _, err := dialer.Dial(t.Context(), strings.Replace(e.URL, "http://", "ws://", 1)+socketPath)
	status := ws.StatusError(http.StatusSwitchingProtocols)
	if err != nil && !errors.As(err, &status) {
		t.Fatal(err)
	}
	if int(status) != want {
		t.Fatalf("the websocket is answered with %d (%v), want %d", int(status), err, want)
	}
	if err != nil {
		return
	}
	defer func() { _ = connection.Close() }()
	_ = connection.SetDeadline(time.Now().Add(patience))
	for _, word := range []string{"hello", strings.Repeat("long ", 100_000)} {
		if err := wsutil.WriteClientText(connection, []byte(word)); err != nil {
			t.Fatal(err)
		}
		if back, err := wsutil.ReadServerText(connection); err != nil || string(back) != word {
			t.Fatalf("%d bytes of %d came back, %v", len(back), len(word), err)
		}
	}
}

// echoSockets is a server of websockets that says what it hears.
type echoSockets struct{ opened atomic.Int32 }

func (s *echoSockets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.opened.Add(1)
	connection, _, _, err := ws.UpgradeHTTP(r, w)
	if err != nil {
		return
	}
	defer func() { _ = connection.Close() }()
	for {
		word, err := wsutil.ReadClientText(connection)
		if err != nil || wsutil.WriteServerText(connection, word) != nil {
			return
		}
	}
}
