package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spillway-proxy/spillway/e2e/harness/envoyproc"
	"github.com/spillway-proxy/spillway/e2e/llmsim"
)

const (
	startTimeout = 2 * time.Minute // compiling the filter takes seconds; on a busy machine, more
	stopGrace    = 3 * time.Second
)

// run starts everything and waits for ctx, which is an end as it should be, or for a failure.
func run(ctx context.Context, s settings) error {
	binary, wasm, err := envoyproc.Locate()
	exporterBinary, exporterErr := envoyproc.LocateExporter()
	if err := errors.Join(err, exporterErr); err != nil {
		return err
	}
	if err := s.checkPorts(); err != nil {
		return err
	}
	if s.upstream == "" {
		simulator, err := startSimulator(s.simPort)
		if err != nil {
			return err
		}
		defer func() { _ = simulator.Close() }()
	}
	exporter, err := startExporter(ctx, s, exporterBinary)
	if exporter != nil {
		defer exporter.Stop(stopGrace)
	}
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	envoy, err := startEnvoy(ctx, s, binary, wasm)
	if envoy != nil {
		defer envoy.Stop(stopGrace)
	}
	if ctx.Err() != nil {
		return nil // interrupted while Envoy was starting
	}
	if err != nil {
		return err
	}
	fmt.Print(s.instructions())
	select {
	case <-ctx.Done():
		fmt.Println("\nstopping")
		return nil
	case <-envoy.Done():
		return fmt.Errorf("envoy ended by itself (%v); its last messages are above", ended(envoy))
	case <-exporter.Done():
		return fmt.Errorf("gpuexporter ended by itself (%v); its last messages are above", ended(exporter))
	}
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
		if s.exporterArgs == ownGPUs {
			err = fmt.Errorf("%w; GPUEXPORTER_ARGS='--simulate ramp' does without a GPU", err)
		}
		return exporter, fmt.Errorf("await gpuexporter: %w", err)
	}
	return exporter, nil
}

// startEnvoy starts Envoy and waits until it serves. The process is returned also with an error, to be stopped.
func startEnvoy(ctx context.Context, s settings, binary, wasm string) (*envoyproc.Process, error) {
	version, err := envoyproc.Version(binary)
	if err != nil {
		return nil, err
	}
	bootstrap, err := s.bootstrap(wasm)
	if err != nil {
		return nil, err
	}
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

	fmt.Printf("starting Envoy %s, which compiles the filter: some seconds …\n", version)
	start := time.Now()
	envoy, err := envoyproc.Start(command)
	if err != nil {
		return nil, err
	}
	ready, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := envoy.AwaitReady(ready, "http://"+local(s.adminPort)); err != nil {
		return envoy, err
	}
	fmt.Printf("ready in %.1f s\n", time.Since(start).Seconds())
	return envoy, nil
}

// bootstrap is envoy/standalone.yaml with this run's ports and files.
func (s *settings) bootstrap(wasm string) ([]byte, error) {
	root, err := envoyproc.Root()
	if err != nil {
		return nil, err
	}
	b, err := envoyproc.Load(filepath.Join(root, envoyproc.StandaloneYAML))
	if err != nil {
		return nil, err
	}
	b.SetPort(envoyproc.Gateway, s.gatewayPort)
	b.SetAdminPort(s.adminPort)
	b.SetUpstream(s.server())
	b.SetExporter(local(s.exporterPort))
	b.SetWasm(wasm)
	return b.JSON()
}

// server is where requests end.
func (s *settings) server() string {
	if s.upstream != "" {
		return s.upstream
	}
	return local(s.simPort)
}

// ended says how a process ended.
func ended(p *envoyproc.Process) string {
	if err := p.Err(); err != nil {
		return err.Error()
	}
	return "exit status 0"
}
