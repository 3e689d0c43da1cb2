package wasmhost

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Options is how an Envoy process and its wasm filter are set up.
type Options struct {
	// AllowOnHeadersStopIteration is the setting of the same name in Envoy's plugin
	// configuration: after Pause at the headers the body callbacks still come. By
	// default they don't until the stream is resumed.
	AllowOnHeadersStopIteration bool
	// BufferFilterAfter puts Envoy's buffer filter right after the wasm filter: the
	// upstream sees nothing of a request before all of it has passed.
	BufferFilterAfter bool
	// SeparateEndOfStream delivers the end of a body in a callback of its own, with
	// no bytes, as HTTP/1 chunked and HTTP/2 peers often do.
	SeparateEndOfStream bool
	// BufferLimit is per_connection_buffer_limit_bytes: a body that is buffered
	// past it is answered with 413 (a request) or 500 (a response). 0 is no limit.
	BufferLimit int
	// Canary tries every new configuration in a throw-away VM before StartVM uses
	// it, as Envoy does. Reconfigure always does.
	Canary bool
	// Clusters are those that HTTP callouts may name; nil allows all.
	Clusters []string
	// Properties answers proxy_get_property, by dotted path ("source.address").
	// Numbers are 8 bytes, little-endian, as Envoy gives them.
	Properties map[string]string
	// Env is the VM's environment.
	Env map[string]string
	// PluginName, RootID and VMID are the plugin_name, plugin_root_id and
	// plugin_vm_id properties.
	PluginName, RootID, VMID string
	// Start is the wall clock's first reading; the default is the start of 2026.
	Start time.Time
	// Seed, if not 0, makes what VMs get as random bytes: the same for the first VM of each host with that seed, for the second, ...
	Seed byte
	// Logf, if set, gets each captured log line as well.
	Logf func(format string, args ...any)
}

// LogLine is one line that the filter logged, or wrote to stdout or stderr.
type LogLine struct {
	VM      int
	Context uint32
	Level   Level
	Message string
}

// Host is one Envoy process: what its workers' VMs have in common. Its methods
// may be called from several goroutines.
type Host struct {
	module *Module
	opts   Options
	ctx    context.Context

	mu         sync.Mutex
	shared     sharedData
	metrics    metrics
	wall       time.Time
	mono       time.Duration
	logs       []LogLine
	calls      map[string]int
	callbacks  map[string]int
	violations []string
	canaried   map[string]bool
	nextVM     int
}

// NewHost starts a process without any VM.
func NewHost(m *Module, opts Options) *Host {
	h := &Host{
		module: m, opts: opts, ctx: context.Background(),
		shared:  newSharedData(),
		metrics: newMetrics(),
		wall:    opts.Start,
		// A monotonic clock doesn't start at zero in a process that has been up for
		// a while, and zero might hide a value that was never set.
		mono:  time.Hour,
		calls: map[string]int{}, callbacks: map[string]int{}, canaried: map[string]bool{},
	}
	if h.wall.IsZero() {
		h.wall = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	return h
}

// Advance moves both clocks.
func (h *Host) Advance(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wall = h.wall.Add(d)
	h.mono += d
}

// SetWall sets the wall clock alone, as a step of NTP does.
func (h *Host) SetWall(t time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wall = t
}

// Now is the wall clock's reading.
func (h *Host) Now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.wall
}

func (h *Host) monotonic() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.mono
}

// Logs returns the lines logged so far by all VMs.
func (h *Host) Logs() []LogLine {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.logs)
}

// Logged says whether a line of at least this level contains the text.
func (h *Host) Logged(least Level, text string) bool {
	return slices.ContainsFunc(h.Logs(), func(l LogLine) bool {
		return l.Level >= least && strings.Contains(l.Message, text)
	})
}

func (h *Host) log(l LogLine) {
	h.mu.Lock()
	h.logs = append(h.logs, l)
	h.mu.Unlock()
	if h.opts.Logf != nil {
		h.opts.Logf("vm %d context %d: %v: %s", l.VM, l.Context, l.Level, l.Message)
	}
}

// Calls returns how often each host function was called since the last reset, by
// its ABI name. Calls of the Go runtime to WASI are among them; see ProxyCalls.
func (h *Host) Calls() map[string]int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.calls)
}

// Callbacks returns how often each function of the guest was called since the
// last reset.
func (h *Host) Callbacks() map[string]int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.callbacks)
}

// ResetCalls sets the counts of Calls and Callbacks to zero.
func (h *Host) ResetCalls() {
	h.mu.Lock()
	defer h.mu.Unlock()
	clear(h.calls)
	clear(h.callbacks)
}

// ProxyCalls is the sum of a count of calls, the Go runtime's own calls to WASI
// left out.
func ProxyCalls(calls map[string]int) int {
	n := 0
	for name, c := range calls {
		if strings.HasPrefix(name, "proxy_") {
			n += c
		}
	}
	return n
}

func (h *Host) countCall(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls[name]++
}

func (h *Host) countCallback(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.callbacks[name]++
}

// Violations lists what the filter did that Envoy asserts against or reports as a
// bug, and that a release build of it survives at best.
func (h *Host) Violations() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.violations)
}

func (h *Host) violate(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.violations = append(h.violations, fmt.Sprintf(format, args...))
}
