package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/spillway-proxy/spillway/e2e/support/freeport"
	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
)

const (
	startTimeout = 5 * time.Minute // vLLM imports PyTorch first
	stopGrace    = 20 * time.Second
)

// The server: 8 slots, and a KV cache of 48 blocks of 32 tokens for them (one more block is vLLM's own). An answer has 8 blocks
// at its end and 6 in the mean, so what 8 slots make does not fit. The model is so small that one core does some hundred tokens a
// second.
const (
	servedModel = "tiny"
	slots       = 8
	kvBlocks    = 48
	blockTokens = 32
)

// start runs a program on some CPUs, with its output in a file of the work folder.
func start(cpus, log string, env []string, program string, args ...string) (*envoyproc.Process, error) {
	f, err := os.Create(filepath.Join(workFolder, log))
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // the program has its own
	command := exec.Command("taskset", append([]string{"--cpu-list", cpus, program}, args...)...)
	command.Stdout, command.Stderr = f, f
	command.Env = append(os.Environ(), env...)
	return envoyproc.Start(command)
}

// python keeps Python's libraries from asking anything of the network, and has them keep their bytecode: without that, guidellm
// takes three times as long to start.
var python = []string{
	"HF_HUB_OFFLINE=1", "TRANSFORMERS_OFFLINE=1", "DO_NOT_TRACK=1", "VLLM_NO_USAGE_STATS=1", "PYTHONDONTWRITEBYTECODE=",
}

// startServer starts vLLM and waits until it serves.
func startServer(ctx context.Context, o *options) (*envoyproc.Process, error) {
	port, err := freeport.Take()
	if err != nil {
		return nil, err
	}
	o.server = fmt.Sprintf("http://127.0.0.1:%d", port)
	env := append([]string{
		"VLLM_CPU_KVCACHE_SPACE=1", "VLLM_CPU_OMP_THREADS_BIND=nobind", "OMP_NUM_THREADS=1",
		"PATH=" + filepath.Join(o.cache, "server", "bin") + ":" + os.Getenv("PATH"),
	}, python...)
	server, err := start(o.serverCPUs, "vllm.log", env, filepath.Join(o.cache, "server", "bin", "vllm"),
		"serve", filepath.Join(o.cache, "model"), "--served-model-name", servedModel, "--host", "127.0.0.1", "--port", fmt.Sprint(port),
		"--dtype", "float32", "--enforce-eager", "--max-model-len", "1024", "--max-num-seqs", fmt.Sprint(o.seqs),
		"--block-size", fmt.Sprint(blockTokens), "--num-gpu-blocks-override", fmt.Sprint(kvBlocks+1))
	if err != nil {
		return nil, err
	}
	fmt.Println("starting vLLM: a minute or two …")
	return server, await(ctx, server, o.server+"/health", "vllm.log")
}

// gateway is an Envoy with the filter, and the exporter that it asks.
type gateway struct {
	url, admin      string
	envoy, exporter *envoyproc.Process
}

// accessLog is what Envoy says of each request.
const accessLog = "envoy.log"

// startGateway starts both, with the filter in a mode.
func (o *options) startGateway(ctx context.Context, mode string) (g *gateway, err error) {
	g = &gateway{}
	defer func() {
		if err != nil {
			g.stop()
		}
	}()
	binary, wasm, err := envoyproc.Locate()
	exporterBinary, exporterErr := envoyproc.LocateExporter()
	if err := errors.Join(err, exporterErr); err != nil {
		return g, err
	}
	var ports [3]int
	for i := range ports {
		if ports[i], err = freeport.Take(); err != nil {
			return g, err
		}
	}
	exporter := fmt.Sprintf("127.0.0.1:%d", ports[0])
	g.exporter, err = start(o.loadCPUs, "gpuexporter.log", nil, exporterBinary,
		"--listen", exporter, "--nvml", "off", "--engine", o.server, "--interval", "500ms", "--log-level", "warn")
	if err == nil {
		err = await(ctx, g.exporter, "http://"+exporter+"/readyz", "gpuexporter.log")
	}
	if err != nil {
		return g, err
	}
	bootstrap, err := o.bootstrap(mode, wasm, exporter, ports[1], ports[2])
	if err != nil {
		return g, err
	}
	g.url, g.admin = fmt.Sprintf("http://127.0.0.1:%d", ports[1]), fmt.Sprintf("http://127.0.0.1:%d", ports[2])
	g.envoy, err = start(o.loadCPUs, accessLog, nil, binary, "--config-yaml", string(bootstrap), "--concurrency", "1",
		"--disable-hot-restart", "--file-flush-interval-msec", "100", "--log-level", "warning")
	if err == nil {
		err = await(ctx, g.envoy, fmt.Sprintf("http://127.0.0.1:%d/ready", ports[2]), accessLog)
	}
	return g, err
}

// bootstrap is envoy/standalone.yaml with this run's addresses and configuration.
func (o *options) bootstrap(mode, wasm, exporter string, port, admin int) ([]byte, error) {
	config, err := o.pluginConfig(mode)
	if err != nil {
		return nil, err
	}
	b, err := envoyproc.Load(envoyproc.StandaloneYAML)
	if err != nil {
		return nil, err
	}
	b.RemoveListener(envoyproc.Surface)
	b.SetPort(envoyproc.Gateway, port)
	b.SetAdminPort(admin)
	b.SetUpstream(o.server[len("http://"):])
	b.SetExporter(exporter)
	b.SetWasm(wasm)
	b.SetPluginConfig(config)
	return b.JSON()
}

// pluginConfig is the filter's configuration of a mode, as JSON: off is that of enforce, with all its gates off.
func (o *options) pluginConfig(mode string) (string, error) {
	file := o.config
	if mode == learned {
		file, mode = o.auto, "enforce"
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	var config map[string]any
	if err := yaml.Unmarshal(text, &config); err != nil {
		return "", fmt.Errorf("parse %q: %w", file, err)
	}
	config["mode"] = mode
	text, err = yaml.Marshal(config)
	if err == nil {
		text, err = yaml.YAMLToJSON(text)
	}
	return string(text), err
}

func (g *gateway) stop() {
	for _, p := range []*envoyproc.Process{g.envoy, g.exporter} {
		if p != nil {
			p.Stop(stopGrace)
		}
	}
}

// await waits until a process serves.
func await(ctx context.Context, p *envoyproc.Process, url, log string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := p.AwaitOK(ctx, url); err != nil {
		p.Stop(stopGrace)
		return fmt.Errorf("await %s: %w; see %s", url, err, filepath.Join(workFolder, log))
	}
	return nil
}
