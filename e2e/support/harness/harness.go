// Package harness runs end-to-end tests against a real Envoy with the compiled filter.
//
// A test starts as many Envoys as it likes, in parallel with others: each has ports of its own, and ends with its test.
// All of them run the bootstrap that users get, envoy/standalone.yaml, changed only where Options say so. Nothing is ever
// skipped: without Envoy or the filter a test fails, and says which make target provides them.
//
//	e := harness.Start(t, harness.Options{Config: `{"limits": [...]}`, Upstream: server.URL})
//	response, err := e.Client.Get(e.URL + "/v1/models")
//	...
//	record := e.AccessLog(1)[0]
package harness

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
)

// Hold says how Envoy is set up to hold a request's headers until the filter has seen its body.
type Hold string

// The set-ups. But for HoldBroken, the filter is told the same by `requestHold`, unless Options.Config sets it itself.
const (
	HoldStopIteration Hold = "stopIteration" // allow_on_headers_stop_iteration is true; the default
	HoldBufferFilter  Hold = "bufferFilter"  // Envoy's buffer filter follows the filter
	HoldNone          Hold = "none"          // neither
	HoldBroken        Hold = "broken"        // neither, but the filter is told stopIteration: a misconfiguration
)

// Options are an Envoy's settings. The zero value is the compiled filter with an empty configuration, one worker, and no
// server behind it.
type Options struct {
	Bootstrap         string        // the file that is run, relative to the repository's root; "" is envoy/standalone.yaml
	Config            string        // the filter's configuration, JSON; "" is {}
	Surface           string        // that of the filter on the admin surface's listener; "": there is no such listener
	Hold              Hold          // "" is HoldStopIteration
	Upstream          string        // host:port, or the URL of an httptest.Server; "" is an address where nothing listens
	Exporter          string        // the same, of what is asked for pressure
	Concurrency       int           // worker threads; 0 is 1
	Wasm              string        // the compiled filter; "" is what Locate finds
	NoWasm            bool          // bare Envoy, the same but for the filter
	VMID              string        // the scope of shared state; "" is what standalone.yaml has
	StreamIdleTimeout time.Duration // 0 is Patience: what waits on a busy machine isn't ended for that
	DrainTime         time.Duration // how long a stream may go on under a replaced configuration; whole seconds, 0 is 1 s
	Filters           []any         // HTTP filters between the filter and the router, as Envoy's JSON
	Clusters          []any         // more clusters, as Envoy's JSON
	Edit              func(*envoyproc.Bootstrap)
	Args              []string // more arguments for Envoy
	LogLevel          string   // of Envoy itself; "" is warning. The filter's own log is always at debug
}

// logLines is how many lines of Envoy's log a failing test shows: many tests may fail at once, and it's their errors that matter.
const logLines = 10

// Envoy is a running Envoy.
type Envoy struct {
	URL      string // of the gateway listener, without a slash at the end
	AdminURL string // of Envoy's admin interface
	Surface  string // of the listener of Spillway's admin surface, without a slash at the end; "": there is none
	Client   *http.Client

	t         testing.TB
	process   *envoyproc.Process
	dir       string
	drain     time.Duration
	hold      Hold
	listeners []map[string]any
	version   int
}

// Start runs an Envoy until the test ends, and returns when it serves. It fails the test when it can't.
func Start(t testing.TB, options Options) *Envoy {
	t.Helper()
	options = withDefaults(t, options)
	e := &Envoy{
		Client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1024}},
		t:      t, dir: t.TempDir(), drain: options.DrainTime, hold: options.Hold,
	}
	e.writeBootstrap(options)
	e.launch(options)
	e.awaitServing()
	return e
}

func withDefaults(t testing.TB, o Options) Options {
	t.Helper()
	if o.Hold == "" {
		o.Hold = HoldStopIteration
	}
	const nowhere = "127.0.0.1:9" // the discard service, which no machine runs any more
	o.Upstream = cmp.Or(strings.TrimPrefix(o.Upstream, "http://"), nowhere)
	o.Exporter = cmp.Or(strings.TrimPrefix(o.Exporter, "http://"), nowhere)
	o.Concurrency = max(o.Concurrency, 1)
	o.DrainTime = max(o.DrainTime, time.Second)
	if o.LogLevel == "" {
		o.LogLevel = "warning"
	}
	if o.Wasm == "" && !o.NoWasm {
		path, err := envoyproc.LocateWasm()
		if err != nil {
			t.Fatal(err)
		}
		o.Wasm = path
	}
	return o
}

// writeBootstrap writes bootstrap.json and, for the listeners, lds.json into e.dir.
func (e *Envoy) writeBootstrap(o Options) {
	e.t.Helper()
	b, err := envoyproc.Load(InRepository(e.t, cmp.Or(o.Bootstrap, envoyproc.StandaloneYAML)))
	if err != nil {
		e.t.Fatal(err)
	}
	if o.Surface == "" {
		b.RemoveListener(envoyproc.Surface)
	} else {
		b.SetSurfaceConfig(o.Surface)
		b.SetPort(envoyproc.Surface, 0)
	}
	adapt(b, o)
	b.SetPort(envoyproc.Gateway, 0)
	b.SetAdminPort(0)
	b.Set("0.2s", "stats_flush_interval") // histograms are merged once per flush; nobody waits 5 s for one
	if o.Edit != nil {
		o.Edit(b)
	}
	e.listeners = b.MoveListeners(e.path("lds.json"))
	text, err := b.JSON()
	if err != nil {
		e.t.Fatal(err)
	}
	e.write("bootstrap.json", text)
	e.writeListeners()
}

// InRepository is where a file of the repository lies, by its path from the root.
func InRepository(t testing.TB, path string) string {
	t.Helper()
	root, err := envoyproc.Root()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(root, filepath.FromSlash(path))
}

func adapt(b *envoyproc.Bootstrap, o Options) {
	b.SetUpstream(o.Upstream)
	b.SetExporter(o.Exporter)
	b.AddClusters(o.Clusters...)
	b.SetStreamIdleTimeout(cmp.Or(o.StreamIdleTimeout, Patience))
	filters := o.Filters
	if o.Hold == HoldBufferFilter {
		filters = append([]any{BufferFilter()}, filters...)
	}
	b.InsertAfterWasm(filters...)
	if o.NoWasm {
		b.RemoveWasm()
		return
	}
	b.SetWasm(o.Wasm)
	b.SetAllowStopIteration(o.Hold == HoldStopIteration)
	b.SetPluginConfig(pluginConfig(o.Config, o.Hold))
	if o.VMID != "" {
		b.SetVMID(o.VMID)
	}
}

// BufferFilter is Envoy's buffer filter, as HoldBufferFilter has it.
func BufferFilter() map[string]any {
	return map[string]any{
		"name": "envoy.filters.http.buffer",
		"typed_config": map[string]any{
			"@type":             "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer",
			"max_request_bytes": 32 << 20,
		},
	}
}

// pluginConfig tells the filter how Envoy holds requests, unless config does. A config that is not a JSON object is left
// as it is: a test may want to see it refused.
func pluginConfig(config string, hold Hold) string {
	if strings.TrimSpace(config) == "" {
		config = "{}"
	}
	var object map[string]json.RawMessage
	if json.Unmarshal([]byte(config), &object) != nil || object == nil || object["requestHold"] != nil {
		return config
	}
	if hold == HoldBroken {
		hold = HoldStopIteration
	}
	separator := ","
	if len(object) == 0 {
		separator = ""
	}
	// By text, not by encoding the object again: what a test writes, down to a repeated key, is what the filter gets.
	return fmt.Sprintf(`{"requestHold":%q%s%s`, hold, separator, strings.TrimSpace(config)[1:])
}

func (e *Envoy) launch(o Options) {
	e.t.Helper()
	binary, err := envoyproc.LocateEnvoy()
	if err != nil {
		e.t.Fatal(err)
	}
	args := []string{
		"-c", e.path("bootstrap.json"), "--admin-address-path", e.path("admin.txt"),
		"--concurrency", strconv.Itoa(o.Concurrency),
		"--disable-hot-restart", // else all Envoys of a machine share one piece of memory, and only one may run
		"--file-flush-interval-msec", "20", "--drain-strategy", "immediate",
		"--drain-time-s", strconv.Itoa(int(o.DrainTime / time.Second)),
		"--log-level", o.LogLevel, "--component-log-level", "wasm:debug",
	}
	command := exec.Command(binary, append(args, o.Args...)...)
	stdout, stderr := e.create("access.log"), e.create("envoy.log")
	command.Stdout, command.Stderr = stdout, stderr
	e.process, err = envoyproc.Start(command)
	_, _ = stdout.Close(), stderr.Close() // Envoy has its own
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() {
		e.Client.CloseIdleConnections()
		e.Stop()
		if e.t.Failed() {
			e.t.Logf("Envoy's log, last lines:\n%s", tail(e.Logs(), logLines))
		}
	})
}

// Stop ends Envoy before the test does.
func (e *Envoy) Stop() { e.process.Stop(5 * time.Second) }

// Exited is closed when Envoy has ended.
func (e *Envoy) Exited() <-chan struct{} { return e.process.Done() }

// PID is Envoy's process id.
func (e *Envoy) PID() int { return e.process.PID() }

func (e *Envoy) awaitServing() {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	deadline := time.Now().Add(Patience)
	for e.AdminURL == "" {
		address, _ := os.ReadFile(e.path("admin.txt"))
		if len(address) > 0 {
			e.AdminURL = "http://" + string(bytes.TrimSpace(address))
			break
		}
		e.mustRun("opened its admin interface", deadline)
	}
	if err := e.process.AwaitReady(ctx, e.AdminURL); err != nil {
		e.t.Fatal(err)
	}
	for e.URL == "" {
		if rejected := e.stat(statRejected); rejected > 0 {
			e.t.Fatalf("Envoy refused its configuration:\n%s", e.rejection(0))
		}
		if address := e.Address(envoyproc.Gateway); address != "" {
			e.URL = "http://" + address
			if address = e.Address(envoyproc.Surface); address != "" {
				e.Surface = "http://" + address
			}
			break
		}
		e.mustRun("opened its listener", deadline)
	}
}

// mustRun waits one poll interval for an Envoy that has not yet done what it must have done by the deadline.
func (e *Envoy) mustRun(what string, deadline time.Time) {
	e.t.Helper()
	select {
	case <-e.process.Done():
		e.t.Fatalf("Envoy ended before it %s (%v)", what, e.process.Err())
	case <-time.After(envoyproc.PollInterval):
	}
	if time.Now().After(deadline) {
		e.t.Fatalf("Envoy has not %s within %v", what, Patience)
	}
}

// Address is where a listener listens, host:port; "" when there is none of that name.
func (e *Envoy) Address(listener string) string {
	e.t.Helper()
	var answer struct {
		Statuses []struct {
			Name    string `json:"name"`
			Address struct {
				Socket struct {
					Address string `json:"address"`
					Port    int    `json:"port_value"`
				} `json:"socket_address"`
			} `json:"local_address"`
		} `json:"listener_statuses"`
	}
	if err := json.Unmarshal([]byte(e.Admin("/listeners?format=json")), &answer); err != nil {
		e.t.Fatalf("parse Envoy's list of listeners: %v", err)
	}
	for _, status := range answer.Statuses {
		if socket := status.Address.Socket; status.Name == listener {
			return fmt.Sprintf("%s:%d", socket.Address, socket.Port)
		}
	}
	return ""
}

func (e *Envoy) path(file string) string { return filepath.Join(e.dir, file) }

func (e *Envoy) create(file string) *os.File {
	e.t.Helper()
	f, err := os.Create(e.path(file))
	if err != nil {
		e.t.Fatal(err)
	}
	return f
}

// write puts a file into place whole, by renaming, which is also what Envoy watches for.
func (e *Envoy) write(file string, text []byte) {
	e.t.Helper()
	temporary := e.path(file + ".new")
	if err := os.WriteFile(temporary, text, 0o600); err != nil {
		e.t.Fatal(err)
	}
	if err := os.Rename(temporary, e.path(file)); err != nil {
		e.t.Fatal(err)
	}
}
