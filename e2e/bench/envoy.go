package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
)

const (
	startTimeout = 2 * time.Minute // compiling a filter takes seconds; on a busy machine, more
	stopGrace    = 5 * time.Second
	statsTimeout = 5 * time.Second // for what the workers have counted to be seen
	logLines     = 30              // of Envoy's log, shown with an error
)

// envoy is one variant at work, in a process of its own, so that the CPU time of the process is that of the variant.
type envoy struct {
	variant *variant
	process *envoyproc.Process
	dir     string
	admin   string // URL
	gateway string // URL
	ready   time.Duration
	client  *client
}

// startEnvoy runs a variant and returns when it serves.
func (b *bench) startEnvoy(ctx context.Context, v *variant, workers, connections int) (*envoy, error) {
	dir, err := os.MkdirTemp(b.dir, v.name+"-")
	if err != nil {
		return nil, err
	}
	e := &envoy{variant: v, dir: dir}
	text, err := b.bootstrap(v)
	if err == nil {
		err = os.WriteFile(e.path("bootstrap.json"), text, 0o600)
	}
	if err == nil {
		err = e.launch(ctx, b.envoyPath, workers)
	}
	if err != nil {
		e.stop()
		return nil, e.explain(err)
	}
	e.client = newClient(b.upstream, e.gateway, connections)
	return e, nil
}

// bootstrap is envoy/standalone.yaml with what the variant needs. Without the access log: writing it is the same work for
// all variants, so it would only make the differences between them look smaller.
func (b *bench) bootstrap(v *variant) ([]byte, error) {
	config, err := envoyproc.Load(filepath.Join(b.root, envoyproc.StandaloneYAML))
	if err != nil {
		return nil, err
	}
	config.RemoveListener(envoyproc.Surface)
	config.SetPort(envoyproc.Gateway, 0)
	config.SetAdminPort(0)
	config.SetUpstream(b.upstream.address)
	config.Set([]any{}, "static_resources", "listeners", envoyproc.Named(envoyproc.Gateway), "filter_chains", 0, "filters", 0,
		"typed_config", "access_log")
	v.adapt(config, b)
	return config.JSON()
}

func (e *envoy) launch(ctx context.Context, binary string, workers int) error {
	log, err := os.Create(e.path("envoy.log"))
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // Envoy has its own
	command := exec.Command(binary,
		"-c", e.path("bootstrap.json"), "--admin-address-path", e.path("admin.txt"),
		"--concurrency", strconv.Itoa(workers),
		"--disable-hot-restart", // else all Envoys of a machine share one piece of memory, and only one may run
		"--log-level", "warning")
	command.Stdout, command.Stderr = log, log
	begin := time.Now()
	if e.process, err = envoyproc.Start(command); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := e.awaitAdmin(ctx); err != nil {
		return err
	}
	if err := e.process.AwaitReady(ctx, e.admin); err != nil {
		return err
	}
	e.ready = time.Since(begin)
	return e.findGateway(ctx)
}

func (e *envoy) awaitAdmin(ctx context.Context) error {
	for {
		// Envoy creates the file before it writes it.
		if address, _ := os.ReadFile(e.path("admin.txt")); len(address) > 0 {
			e.admin = "http://" + string(bytes.TrimSpace(address))
			return nil
		}
		select {
		case <-e.process.Done():
			return fmt.Errorf("envoy ended before it opened its admin interface (%v)", e.process.Err())
		case <-ctx.Done():
			return fmt.Errorf("envoy did not open its admin interface: %w", ctx.Err())
		case <-time.After(envoyproc.PollInterval):
		}
	}
}

func (e *envoy) findGateway(ctx context.Context) error {
	text, err := e.get(ctx, "/listeners?format=json")
	if err != nil {
		return err
	}
	var answer struct {
		Statuses []struct {
			Name    string `json:"name"`
			Address struct {
				Socket struct {
					Port int `json:"port_value"`
				} `json:"socket_address"`
			} `json:"local_address"`
		} `json:"listener_statuses"`
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return fmt.Errorf("parse Envoy's list of listeners: %w", err)
	}
	for _, status := range answer.Statuses {
		if status.Name == envoyproc.Gateway {
			e.gateway = fmt.Sprintf("http://127.0.0.1:%d", status.Address.Socket.Port)
			return nil
		}
	}
	return fmt.Errorf("envoy has no listener %q", envoyproc.Gateway)
}

func (e *envoy) get(ctx context.Context, path string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, e.admin+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask Envoy's admin interface: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s of Envoy's admin interface: status %d: %s", path, response.StatusCode, body)
	}
	return body, err
}

// counters are Envoy's counters and gauges by name.
type counters map[string]uint64

func (e *envoy) counters(ctx context.Context) (counters, error) {
	text, err := e.get(ctx, "/stats?usedonly")
	if err != nil {
		return nil, err
	}
	c := counters{}
	for line := range strings.Lines(string(text)) {
		at := strings.LastIndex(line, ": ")
		if at < 0 {
			continue
		}
		if value, err := strconv.ParseUint(strings.TrimSpace(line[at+2:]), 10, 64); err == nil {
			c[line[:at]] = value // a histogram has a text, not a number
		}
	}
	return c, nil
}

// since is what was counted since before. Gauges don't matter to any check that uses it.
func (c counters) since(before counters) counters {
	d := counters{}
	for name, value := range c {
		d[name] = value - before[name]
	}
	return d
}

// sum adds up all that have the prefix: a counter of Spillway's has its labels in its name.
func (c counters) sum(prefix string) (total uint64) {
	for name, value := range c {
		if strings.HasPrefix(name, prefix) {
			total += value
		}
	}
	return total
}

// watch runs a load, and then checks by Envoy's counters that the variant did what it is measured for.
func (e *envoy) watch(ctx context.Context, done work, load func() error) error {
	before, err := e.counters(ctx)
	if err != nil {
		return e.explain(err)
	}
	if err := load(); err != nil {
		return e.explain(err)
	}
	// Envoy counts a request when it is over for Envoy, which may be after the client has its answer.
	for deadline := time.Now().Add(statsTimeout); ; {
		after, err := e.counters(ctx)
		if err != nil {
			return e.explain(err)
		}
		if err = e.variant.verify(after.since(before), after, done); err == nil || time.Now().After(deadline) {
			return e.explain(err)
		}
		pause(envoyproc.PollInterval)
	}
}

// checkWorkers: so many workers had connections, at least. The kernel deals these out by chance.
func (e *envoy) checkWorkers(ctx context.Context, least int) error {
	c, err := e.counters(ctx)
	if err != nil {
		return e.explain(err)
	}
	had := 0
	for i := range manyWorkers {
		if c[fmt.Sprintf("listener.%s.worker_%d.downstream_cx_total", "127.0.0.1_0", i)] > 0 {
			had++
		}
	}
	if had < least {
		return e.explain(fmt.Errorf("%d of %d workers had connections, want %d", had, manyWorkers, least))
	}
	return nil
}

// rss is the memory that Envoy has resident, in bytes.
func (e *envoy) rss() (float64, error) { return residentMemory(e.process.PID()) }

// residentMemory is what a process has resident, in bytes.
func residentMemory(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, fmt.Errorf("read the memory of process %d: %w", pid, err)
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0, fmt.Errorf("read the memory of process %d: statm is %q", pid, text)
	}
	pages, err := strconv.ParseUint(fields[1], 10, 64)
	return float64(pages) * float64(os.Getpagesize()), err
}

// explain adds the variant's name and the end of Envoy's log to an error.
func (e *envoy) explain(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, context.Canceled) {
		return err // interrupted: Envoy's log has nothing to do with it
	}
	text, _ := os.ReadFile(e.path("envoy.log"))
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	lines = lines[max(0, len(lines)-logLines):]
	return fmt.Errorf("variant %q: %w\nthe end of its Envoy's log:\n%s", e.variant.name, err, strings.Join(lines, "\n"))
}

func (e *envoy) stop() {
	if e.client != nil {
		e.client.close()
	}
	if e.process != nil {
		e.process.Stop(stopGrace)
	}
}

func (e *envoy) path(file string) string { return filepath.Join(e.dir, file) }
