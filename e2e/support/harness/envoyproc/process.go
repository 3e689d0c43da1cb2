package envoyproc

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"regexp"
	"runtime"
	"syscall"
	"time"
)

// PollInterval is how often a condition that Envoy does not announce is looked at again.
const PollInterval = 20 * time.Millisecond

// Process is a running Envoy, or another program beside it. It is in a process group of its own, so that a Ctrl-C at the terminal reaches only the
// program that started it, and (on Linux) is killed by the kernel when that program dies, however it dies.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error // valid once done is closed
}

// Start runs a command, Envoy as a rule, whose Path, Args, Dir, Stdout and Stderr are set.
func Start(cmd *exec.Cmd) (*Process, error) {
	cmd.SysProcAttr = ownGroup()
	p := &Process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The kernel sends the parent-death signal when the thread that started the child ends, not the process; so the
		// thread is kept for as long as the child lives.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %q: %w", cmd.Path, err)
	}
	return p, nil
}

// PID is the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err says how the process ended; call it after Done.
func (p *Process) Err() error { return p.err }

// Stop ends the process and everything it started: it asks, and kills after the grace period. It may be called again.
func (p *Process) Stop(grace time.Duration) {
	p.signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(grace):
		p.signal(syscall.SIGKILL)
		<-p.done
	}
}

func (p *Process) signal(signal syscall.Signal) {
	select {
	case <-p.done: // its id may belong to another process by now
	default:
		_ = syscall.Kill(-p.PID(), signal)
	}
}

// AwaitReady waits until Envoy's admin interface says that it is ready to serve. It fails when Envoy ends before, or when
// ctx does.
func (p *Process) AwaitReady(ctx context.Context, adminURL string) error {
	if err := p.AwaitOK(ctx, adminURL+"/ready"); err != nil {
		return fmt.Errorf("await Envoy: %w", err)
	}
	return nil
}

// AwaitOK waits until a GET of a URL, which the process serves, is answered with status 200. It fails when the process ends
// before, or when ctx does.
func (p *Process) AwaitOK(ctx context.Context, url string) error {
	return p.Await(ctx, func() bool {
		status, _, err := get(ctx, url)
		return err == nil && status == http.StatusOK
	})
}

// Await waits until a condition holds that the process brings about. It fails when the process ends before, or when ctx does.
func (p *Process) Await(ctx context.Context, condition func() bool) error {
	for !condition() {
		if err := p.pause(ctx); err != nil {
			return err
		}
	}
	return nil
}

// pause waits one poll interval; it fails when the process has ended, or when ctx has.
func (p *Process) pause(ctx context.Context) error {
	select {
	case <-p.done:
		return fmt.Errorf("it ended before it was ready (%v); its log says why", p.err)
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(PollInterval):
		return nil
	}
}

var adminClient = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}

func get(ctx context.Context, url string) (status int, body []byte, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, nil, err
	}
	response, err := adminClient.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err = io.ReadAll(response.Body)
	return response.StatusCode, body, err
}

var versionPattern = regexp.MustCompile(`/(\d+\.\d+\.\d+[^/]*)/`)

// Version asks the Envoy binary at path for its version, such as "1.40.0".
func Version(path string) (string, error) {
	output, err := exec.Command(path, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("run %q --version: %w", path, err)
	}
	match := versionPattern.FindSubmatch(output)
	if match == nil {
		return "", fmt.Errorf("%q does not look like an Envoy: its --version says %q", path, output)
	}
	return string(match[1]), nil
}
