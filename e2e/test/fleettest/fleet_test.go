// Package fleettest tests a fleet: two real Envoys with envoy/fleet.yaml, the real envoyproxy/ratelimit and a real Redis.
package fleettest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
	"github.com/spillway-proxy/spillway/e2e/support/harness/fleetproc"
	"github.com/spillway-proxy/spillway/e2e/support/llmsim"
)

const (
	// limit is that of envoy/fleet.yaml and of envoy/ratelimit/config, and answer what the simulator answers.
	limit, answer = 300, 76

	// patience bounds everything that a test waits for.
	patience = harness.Patience
)

// shared is what all Envoys of a fleet share. It lives as long as the test that started it.
type shared struct {
	t         *testing.T
	programs  fleetproc.Programs
	redisPort int
	port      int      // of ratelimit, gRPC
	httpPort  int      // of it, HTTP
	log       *os.File // of both
	data      string   // Redis's, to begin with
	root      string   // of ratelimit's files, a copy of envoy/
	*running
}

// running are the processes; each may be stopped, and started again.
type running struct{ redis, ratelimit *envoyproc.Process }

func startShared(t *testing.T) *shared {
	t.Helper()
	programs, err := fleetproc.Locate()
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(t.TempDir(), "shared.log"))
	if err != nil {
		t.Fatal(err)
	}
	ports := harness.FreePorts(t, 3)
	s := &shared{t: t, programs: programs, redisPort: ports[0], port: ports[1], httpPort: ports[2], log: log, data: t.TempDir(), root: copyConfig(t), running: &running{}}
	t.Cleanup(func() {
		s.stopRatelimit()
		s.stopRedis()
		if text, _ := os.ReadFile(log.Name()); t.Failed() && len(text) > 0 {
			t.Logf("what Redis and ratelimit said:\n%s", text)
		}
	})
	s.startRedis(s.data)
	s.startRatelimit()
	return s
}

// startRedis starts Redis, which keeps its data in dir; "" is nowhere.
func (s *shared) startRedis(dir string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var err error
	if s.redis, err = fleetproc.StartRedis(ctx, s.programs.Redis, s.redisPort, dir, s.log); err != nil {
		s.t.Fatal(err)
	}
}

func (s *shared) startRatelimit() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var err error
	if s.ratelimit, err = fleetproc.StartRatelimit(ctx, s.programs.Ratelimit, s.port, s.httpPort, s.redisPort, s.root, s.log); err != nil {
		s.t.Fatal(err)
	}
}

const configFile = "ratelimit/config/llm.yaml" // in envoy/

// copyConfig copies the limits, so that a test can change them.
func copyConfig(t *testing.T) (root string) {
	t.Helper()
	text, err := os.ReadFile(harness.InRepository(t, "envoy/"+configFile))
	if err != nil {
		t.Fatal(err)
	}
	root = t.TempDir()
	if err := os.MkdirAll(filepath.Dir(filepath.Join(root, configFile)), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, configFile), text, 0o600); err != nil {
		t.Fatal(err)
	}
	return root
}

func (s *shared) stopRedis()     { stop(s.redis) }
func (s *shared) stopRatelimit() { stop(s.ratelimit) }

func stop(p *envoyproc.Process) {
	if p != nil {
		p.Stop(5 * time.Second)
	}
}

// fleet is two Envoys, what they share, and one server behind them.
type fleet struct {
	*shared
	envoys [2]*harness.Envoy
	sim    *llmsim.Server
	door   *door
	config string // the filter's, as envoy/fleet.yaml has it
}

func startFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{
		shared: startShared(t), door: &door{},
		sim:    llmsim.New(llmsim.Options{Models: []string{"mock"}, Tokens: answer, RecordHeaders: []string{"*"}}),
		config: strings.ReplaceAll(shippedConfig(t), `"1h"`, `"8760h"`), // what comes back of it meanwhile would let more pass
	}
	server := httptest.NewServer(f.door.before(f.sim))
	t.Cleanup(func() {
		f.door.open()
		server.CloseClientConnections()
		server.Close()
	})
	var started sync.WaitGroup // each compiles the filter
	for i := range f.envoys {
		started.Go(func() {
			f.envoys[i] = harness.Start(t, harness.Options{
				Bootstrap: envoyproc.FleetYAML, Config: f.config, Upstream: server.URL, Concurrency: 2,
				Edit: func(b *envoyproc.Bootstrap) {
					b.SetRatelimit(local(f.port))
					b.Edit(patientWithRatelimit)
				},
			})
		})
	}
	started.Wait()
	for _, e := range f.envoys {
		if e == nil {
			t.FailNow() // harness.Start has said why
		}
	}
	f.awaitHealth(true) // the first check may time out while Envoy compiles
	return f
}

// patientWithRatelimit gives ratelimit more time than envoy/fleet.yaml does, for a request and for saying that it is well: a busy
// machine is no outage.
func patientWithRatelimit(root map[string]any) {
	const patient = "60s"
	harness.Visit(root, func(object map[string]any) {
		if _, ok := object["failure_mode_deny"]; ok {
			object["timeout"] = patient
		}
		if _, ok := object["grpc_health_check"]; ok {
			object["timeout"] = patient
		}
	})
}

// in gives the same fleet to a subtest, with an hour ahead of it that is long enough: the limit's windows begin on the hour.
func (f *fleet) in(t *testing.T) *fleet {
	s := *f.shared
	s.t = t
	harness.AwaitHour(t, 5*time.Minute)
	return &fleet{&s, f.envoys, f.sim, f.door, f.config}
}

// shippedConfig is the filter's configuration in envoy/fleet.yaml.
func shippedConfig(t *testing.T) string {
	t.Helper()
	b, err := envoyproc.Load(harness.InRepository(t, envoyproc.FleetYAML))
	if err != nil {
		t.Fatal(err)
	}
	return b.PluginConfig()
}

// configure gives both Envoys another configuration of the filter.
func (f *fleet) configure(config string) {
	f.t.Helper()
	for _, e := range f.envoys {
		if err := e.Reconfigure(config); err != nil {
			f.t.Fatal(err)
		}
	}
}

// ask is a request.
type ask struct {
	user      string // "" sends no header
	stream    bool
	unbounded bool     // without a number of tokens at most
	path      string   // "" is a chat
	body      string   // "" is one that suits the path
	header    []string // names and values in turn
}

// reply is a response that was read to its end.
type reply struct {
	status int
	header http.Header
	body   string
}

func (a ask) request(ctx context.Context, base string) (*http.Request, error) {
	body := `{"model":"mock","max_completion_tokens":100,"messages":[{"role":"user","content":"introduce yourself"}]}`
	if a.unbounded {
		body = strings.Replace(body, `"max_completion_tokens":100,`, "", 1)
	}
	if a.body != "" {
		body = a.body
	}
	if a.stream {
		body = `{"stream":true,` + body[1:]
	}
	if a.path == "" {
		a.path = "/v1/chat/completions"
	} else if a.body == "" {
		body = `{"model":"mock","input":"hello"}`
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, base+a.path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("content-type", "application/json")
	if a.user != "" {
		request.Header.Set("x-user-id", a.user)
	}
	for i := 0; i+1 < len(a.header); i += 2 {
		request.Header.Set(a.header[i], a.header[i+1])
	}
	return request, nil
}

// send may be called from any goroutine.
func (f *fleet) send(envoy int, a ask) reply {
	e := f.envoys[envoy]
	request, err := a.request(f.t.Context(), e.URL)
	if err != nil {
		f.t.Error(err)
		return reply{}
	}
	response, err := e.Client.Do(request)
	if err != nil {
		f.t.Error(err)
		return reply{}
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		f.t.Error(err)
	}
	return reply{response.StatusCode, response.Header, string(body)}
}

// inTurn sends n requests to one Envoy after the other, each when what those before it used has been charged, and returns the
// statuses.
func (f *fleet) inTurn(n int, a ask) string {
	f.t.Helper()
	name, used := a.user, 0
	if name == "" {
		name = "anonymous"
	}
	before := f.charged(name)
	var statuses []string
	for i := range n {
		r := f.send(i%len(f.envoys), a)
		statuses = append(statuses, fmt.Sprint(r.status))
		if r.status == http.StatusOK {
			used += answer
		}
		f.awaitCharged(name, before+used)
	}
	return strings.Join(statuses, " ")
}

// received counts what the server has seen of a user.
func (f *fleet) received(user string) (n int) {
	for _, r := range f.sim.Requests() {
		if r.Headers["x-user-id"] == user {
			n++
		}
	}
	return n
}

// door keeps requests with the header x-wait waiting in front of a server until it is opened.
type door struct {
	mu      sync.Mutex
	waiting int
	opened  chan struct{}
}

func (d *door) before(server http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("x-wait") != "" {
			d.wait(r.Context())
		}
		server.ServeHTTP(w, r)
	})
}

func (d *door) wait(ctx context.Context) {
	d.mu.Lock()
	if d.opened == nil {
		d.opened = make(chan struct{})
	}
	d.waiting++
	opened := d.opened
	d.mu.Unlock()
	select {
	case <-opened:
	case <-ctx.Done():
	}
	d.mu.Lock()
	d.waiting--
	d.mu.Unlock()
}

func (d *door) held() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.waiting
}

// open lets those through that wait now.
func (d *door) open() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.opened != nil {
		close(d.opened)
		d.opened = nil
	}
}

func local(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
