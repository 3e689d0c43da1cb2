package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
	"github.com/spillway-proxy/spillway/e2e/support/harness/fleetproc"
	"github.com/spillway-proxy/spillway/e2e/support/llmsim"
)

const (
	startTimeout = 10 * time.Minute // compiling the filter takes seconds; on a busy machine, minutes
	stopGrace    = 3 * time.Second
)

// programs are the binaries that a run needs.
type programs struct {
	envoy, wasm, exporter string
	fleet                 fleetproc.Programs
}

func (s *settings) locate() (p programs, err error) {
	var errs [3]error
	p.envoy, p.wasm, errs[0] = envoyproc.Locate()
	p.exporter, errs[1] = envoyproc.LocateExporter()
	if s.fleet {
		p.fleet, errs[2] = fleetproc.Locate()
	}
	return p, errors.Join(errs[:]...)
}

// run starts everything and waits for ctx, which is an end as it should be, or for a failure.
func run(ctx context.Context, s settings) error {
	root, err := envoyproc.Root()
	if err != nil {
		return err
	}
	if s.chosen, err = s.configuration(root); err != nil {
		return err
	}
	p, err := s.locate()
	if err != nil {
		return err
	}
	if s.upstream != (upstream{}) {
		s.found = s.upstream.look(ctx)
	}
	s.chooseSource(nvidiaDevice)
	if err := s.checkPorts(); err != nil {
		return err
	}
	if warning := s.upstream.warning(s.found); warning != "" {
		fmt.Fprintln(os.Stderr, "spillway-run:", warning)
	}
	s.token = rand.Text()
	if s.upstream == (upstream{}) {
		simulator, err := startSimulator(s.simPort)
		if err != nil {
			return err
		}
		defer func() { _ = simulator.Close() }()
	}
	var g group
	defer g.stop()
	if err := s.startAll(ctx, &g, p); ctx.Err() != nil {
		return nil // interrupted while something was starting
	} else if err != nil {
		return err
	}
	fmt.Print(s.instructions())
	return g.await(ctx)
}

// startAll starts all programs, and what Envoy asks before Envoy.
func (s *settings) startAll(ctx context.Context, g *group, p programs) error {
	if s.exporterArgs != "" {
		exporter, err := startExporter(ctx, *s, p.exporter)
		if err := g.add("gpuexporter", exporter, err); err != nil {
			return err
		}
	}
	if s.fleet {
		if err := s.startShared(ctx, g, p.fleet); err != nil {
			return err
		}
	}
	return startEnvoys(ctx, *s, g, p)
}

// startSimulator serves an LLM whose answers are as the limit of standalone.yaml expects: 76 tokens each.
func startSimulator(port int) (*llmsim.Server, error) {
	simulator := llmsim.New(llmsim.Options{
		Models: []string{model},
		Tokens: answerTokens,
		TTFT:   50 * time.Millisecond, // slow enough to see a stream run
		ITL:    10 * time.Millisecond,
	})
	if _, err := simulator.Start(local(port)); err != nil {
		return nil, fmt.Errorf("start the simulator: %w", err)
	}
	return simulator, nil
}

// startExporter starts gpuexporter and waits until it serves. The process is returned also with an error, to be stopped.
func startExporter(ctx context.Context, s settings, binary string) (*envoyproc.Process, error) {
	args := []string{"--listen", local(s.exporterPort), "--log-level", "warn"}
	command := exec.Command(binary, append(args, strings.Fields(s.exporterArgs)...)...)
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	exporter, err := envoyproc.Start(command)
	if err != nil {
		return nil, err
	}
	ready, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := exporter.AwaitOK(ready, "http://"+local(s.exporterPort)+"/healthz"); err != nil {
		if strings.HasPrefix(s.exporterArgs, ownGPUs) {
			err = fmt.Errorf("%w; GPUEXPORTER_ARGS='--nvml off' leaves this machine's GPUs alone", err)
		}
		return exporter, fmt.Errorf("await gpuexporter: %w", err)
	}
	return exporter, nil
}

// instance is one Envoy.
type instance struct {
	name               string
	gateway, adminPort int
}

func (s *settings) instances() []instance {
	one := []instance{{"envoy", s.gatewayPort, s.adminPort}}
	if s.fleet {
		return append(one, instance{"the second envoy", s.gateway2, s.admin2})
	}
	return one
}

// startEnvoys starts all Envoys and waits until they serve.
func startEnvoys(ctx context.Context, s settings, g *group, p programs) error {
	version, err := envoyproc.Version(p.envoy)
	if err != nil {
		return err
	}
	fmt.Printf("starting Envoy %s, which compiles the filter: some seconds, half a minute where other programs are busy\n", version)
	start := time.Now()
	defer saying("Envoy compiles the filter")()
	ready, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	var running []*envoyproc.Process
	for _, i := range s.instances() {
		bootstrap, err := s.bootstrap(p.wasm, i)
		if err != nil {
			return err
		}
		envoy, err := startEnvoy(s, p.envoy, bootstrap)
		if err := g.add(i.name, envoy, err); err != nil {
			return err
		}
		running = append(running, envoy)
	}
	for n, i := range s.instances() {
		if err := running[n].AwaitReady(ready, "http://"+local(i.adminPort)); err != nil {
			return err
		}
	}
	fmt.Printf("ready in %.1f s\n", time.Since(start).Seconds())
	return nil
}

func startEnvoy(s settings, binary string, bootstrap []byte) (*envoyproc.Process, error) {
	args := []string{
		"--config-yaml", string(bootstrap),
		"--disable-hot-restart",             // another Envoy may be running on this machine
		"--file-flush-interval-msec", "100", // show an access log line when it is news, not up to 10 s later
		"--log-level", "warning", "--component-log-level", "wasm:info,main:error", // main warns of each SIGTERM
	}
	if s.concurrency > 0 {
		args = append(args, "--concurrency", strconv.Itoa(s.concurrency))
	}
	command := exec.Command(binary, args...)
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	return envoyproc.Start(command)
}

// bootstrap is envoy/standalone.yaml, or envoy/fleet.yaml, with this run's ports, files and configuration.
func (s *settings) bootstrap(wasm string, i instance) ([]byte, error) {
	root, err := envoyproc.Root()
	if err != nil {
		return nil, err
	}
	b, err := envoyproc.Load(filepath.Join(root, s.bootstrapFile()))
	if err != nil {
		return nil, err
	}
	if s.fleet {
		b.SetRatelimit(local(s.ratelimit))
	} else {
		b.SetPort(envoyproc.Surface, s.surfacePort)
		b.SetSurfaceConfig(fmt.Sprintf(`{"mode": "off", "admin": {"path": "/spillway", "tokens": ["sha256:%x"]}}`, sha256.Sum256([]byte(s.token))))
	}
	b.SetPort(envoyproc.Gateway, i.gateway)
	b.SetAdminPort(i.adminPort)
	if s.upstream == (upstream{}) {
		b.SetUpstream(local(s.simPort))
	} else if err := s.upstream.configure(b); err != nil {
		return nil, err
	}
	b.SetExporter(local(s.exporterPort))
	b.SetWasm(wasm)
	b.SetPluginConfig(s.chosen.json)
	return b.JSON()
}

// server is where requests end.
func (s *settings) server() string {
	if s.upstream != (upstream{}) {
		return s.upstream.url()
	}
	return "http://" + local(s.simPort)
}
