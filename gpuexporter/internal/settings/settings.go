// Package settings reads flags, environment variables and a YAML file into one plain configuration.
//
// A flag wins over its variable, a variable over the file, the file over the default. Values are checked after all of them
// were read, so that every mistake is reported at once.
package settings

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"github.com/prometheus/exporter-toolkit/web"

	"github.com/spillway-proxy/spillway/gpuexporter/internal/pressure"
	"github.com/spillway-proxy/spillway/gpuexporter/internal/simulate"
)

// Prefix is that of the environment variables.
const Prefix = "GPUEXPORTER"

// maxOwnName bounds the parts that instances' names are made of.
const maxOwnName = pressure.MaxName/2 - 1

// Uses of NVML.
const (
	Auto = "auto"
	On   = "on"
	Off  = "off"
)

// Config is what the program does.
type Config struct {
	Listen string
	// DCGMNames says that GPUs have dcgm-exporter's names in /metrics, and PodResources is the kubelet's socket, "" without one.
	DCGMNames    bool
	PodResources string
	// WebConfig is a file of the Prometheus exporter-toolkit, "" for plain HTTP without passwords.
	WebConfig string
	Shutdown  time.Duration
	Node      string
	Interval  time.Duration
	Timeout   time.Duration

	NVML        string
	NVMLLibrary string
	// DCGM is this machine's dcgm-exporter, nil without one.
	DCGM    *url.URL
	Engines []Engine
	// EngineGPUs are indices or UUIDs by the engine's full name.
	EngineGPUs map[string][]string
	Peers      []*url.URL
	Simulate   *simulate.Profile

	MaxInstances int
	DropAfter    time.Duration

	LogLevel  slog.Level
	LogFormat string
}

// Engine is an inference server's metrics.
type Engine struct {
	// Name is the instance's full name: the node's, a slash, and its own.
	Name string
	URL  *url.URL
}

// flags is everything as it was written. All values that can be wrong are text here.
type flags struct {
	Config  string           `help:"YAML file with any of these settings, by their names in camelCase (dropAfter: 1m). Flags and variables win over it." placeholder:"FILE" type:"path"`
	Version kong.VersionFlag `env:"-" help:"Show the version and exit."`

	Engine     []string `group:"Sources" help:"Metrics of an inference server (vLLM, SGLang, TensorRT-LLM, Triton, Dynamo), such as http://127.0.0.1:8000/metrics. Repeatable. NAME= before it names the instance." placeholder:"[NAME=]URL"`
	EngineGpus []string `group:"Sources" name:"engine-gpus" help:"GPUs of an engine, by index or UUID, such as vllm=0+1. Repeatable. Without it a single engine has all GPUs, and of several none has any." placeholder:"NAME=GPU+GPU"`
	Peer       []string `group:"Sources" help:"Another exporter whose instances are told here too. Repeatable. dns+http://HOST:PORT asks every address that the name has, looked up anew each time." placeholder:"URL"`
	Nvml       string   `group:"Sources" help:"GPUs of this machine: auto measures them if there are any (and not when simulating), on needs them, off leaves them alone." default:"auto" placeholder:"auto|on|off"`
	Dcgm       string   `group:"Sources" help:"dcgm-exporter of this machine, which is read instead of NVML, such as http://127.0.0.1:9400/metrics." placeholder:"URL"`
	NvmlLib    string   `group:"Sources" name:"nvml-library" help:"Path of libnvidia-ml.so.1, where the system's loader doesn't find it." placeholder:"FILE"`
	Simulate   string   `group:"Sources" help:"Make up servers and GPUs: ${profiles}, or a YAML file." placeholder:"PROFILE"`

	Interval string `group:"Measuring" help:"How often every source measures." default:"1s"`
	Timeout  string `group:"Measuring" help:"How long one measurement may take before it counts as late. Answers never wait for it." default:"2s"`
	Node     string `group:"Measuring" help:"This machine's name, which is unique in the fleet: the first part of its instances' names. Default: the host's name." placeholder:"NAME"`

	MaxInstances string `group:"The document" help:"Most instances in /v1/pressure. Beyond it the fullest are left out and counted." default:"1000"`
	DropAfter    string `group:"The document" help:"An instance that nobody has measured for this long is left out." default:"5m"`

	Listen          string `group:"Serving" help:"Address for /metrics, /v1/pressure, /healthz and /readyz. It is this machine's own unless another is given, because without a --web.config.file there is no authentication; 0.0.0.0:9401 is all of them." default:"127.0.0.1:9401"`
	WebConfig       string `group:"Serving" name:"web.config.file" help:"TLS, client certificates and passwords, in the form that exporters of Prometheus share (exporter-toolkit)." placeholder:"FILE" type:"path"`
	Metrics         string `group:"Serving" help:"Names of GPUs' metrics: gpuexporter's own, or dcgm-exporter's, for dashboards and alerts that know those." default:"gpuexporter" placeholder:"gpuexporter|dcgm"`
	PodResources    string `group:"Serving" help:"Socket of the kubelet that says which pod has a GPU, for dcgm-exporter's labels: /var/lib/kubelet/pod-resources/kubelet.sock." placeholder:"FILE" type:"path"`
	ShutdownTimeout string `group:"Serving" help:"How long requests that run at SIGTERM or SIGINT may take to end." default:"5s"`
	LogLevel        string `group:"Serving" help:"debug, info, warn or error." default:"info"`
	LogFormat       string `group:"Serving" help:"text or json, to standard error." default:"text"`
}

const description = `Tells the filter of Spillway, and Prometheus, how full GPUs and inference servers are.

It measures NVIDIA GPUs (NVML) and reads the metrics of inference servers; it can merge what other exporters say, and simulate. Every source is measured by itself, and answers come from its last good sample, with its age.

Each flag is also an environment variable: --drop-after is ` + Prefix + `_DROP_AFTER. Lists are separated by commas.

Examples:
  gpuexporter                                       GPUs of this machine
  gpuexporter --engine http://127.0.0.1:8000        with the vLLM that uses them
  gpuexporter --listen 0.0.0.0:9401                 for others to ask, too
  gpuexporter --dcgm http://127.0.0.1:9400          by dcgm-exporter, which is there already
  gpuexporter --nvml off --peer dns+http://gpuexporter.monitoring.svc:9401
                                                    one address for a fleet
  gpuexporter --simulate ramp                       without a GPU`

// ErrExit says that all was done by reading the flags: the help or the version was shown.
var ErrExit = errors.New("nothing more to do")

// Parse reads the settings. It writes --help and --version to stdout, and then returns ErrExit.
func Parse(args []string, version string, stdout io.Writer) (Config, error) {
	f, err := read(args, version, stdout)
	if err != nil {
		return Config{}, err
	}
	if f.Config != "" {
		file, err := readFile(f.Config)
		if err != nil {
			return Config{}, err
		}
		if f, err = read(args, version, stdout, kong.Resolvers(file)); err != nil {
			return Config{}, err
		}
	}
	return f.check()
}

func read(args []string, version string, stdout io.Writer, more ...kong.Option) (flags, error) {
	var f flags
	exited := false
	parser, err := kong.New(&f, append([]kong.Option{
		kong.Name("gpuexporter"), kong.Description(description), kong.Writers(stdout, io.Discard),
		kong.Vars{"version": version, "profiles": strings.Join(simulate.Names(), ", ")},
		kong.DefaultEnvars(Prefix), kong.Exit(func(int) { exited = true }),
		kong.ConfigureHelp(kong.HelpOptions{WrapUpperBound: 120}),
	}, more...)...)
	if err != nil {
		return flags{}, err
	}
	_, err = parser.Parse(args)
	if exited {
		return flags{}, ErrExit
	}
	if err != nil {
		err = fmt.Errorf("%w (see --help)", err)
	}
	return f, err
}

// check turns text into values, and gathers all that is wrong.
type check struct {
	errs []error
}

func (c *check) complain(format string, values ...any) {
	c.errs = append(c.errs, fmt.Errorf(format, values...))
}

func (f *flags) check() (Config, error) {
	var c check
	config := Config{
		Listen: f.Listen, WebConfig: f.WebConfig, PodResources: f.PodResources, NVML: f.Nvml, NVMLLibrary: f.NvmlLib, LogFormat: f.LogFormat,
		Interval:  c.duration("interval", f.Interval, 100*time.Millisecond, time.Hour),
		Timeout:   c.duration("timeout", f.Timeout, 10*time.Millisecond, time.Hour),
		DropAfter: c.duration("drop-after", f.DropAfter, time.Second, 24*time.Hour),
		Shutdown:  c.duration("shutdown-timeout", f.ShutdownTimeout, 0, time.Hour),
		Node:      c.node(f.Node),
	}
	if _, port, err := net.SplitHostPort(f.Listen); err != nil || port == "" {
		c.complain("--listen %q: want HOST:PORT or :PORT", f.Listen)
	}
	c.oneOf("nvml", f.Nvml, Auto, On, Off)
	c.oneOf("metrics", f.Metrics, "gpuexporter", "dcgm")
	if config.DCGMNames = f.Metrics == "dcgm"; f.PodResources != "" && !config.DCGMNames {
		c.complain("--pod-resources: pods are labels of dcgm-exporter's metrics: add --metrics=dcgm")
	}
	c.oneOf("log-format", f.LogFormat, "text", "json")
	if err := config.LogLevel.UnmarshalText([]byte(f.LogLevel)); err != nil {
		c.complain("--log-level %q: want debug, info, warn or error", f.LogLevel)
	}
	n, err := strconv.Atoi(f.MaxInstances)
	if err != nil || n < 1 || n > 100000 {
		c.complain("--max-instances %q: want a number from 1 to 100000", f.MaxInstances)
	}
	config.MaxInstances = n
	c.engines(f, &config)
	c.peers(f, &config)
	if f.Dcgm != "" {
		config.DCGM = c.url("dcgm", f.Dcgm, "/metrics", "http", "https")
		if f.Nvml == On {
			c.complain("--nvml on, --dcgm: both measure the same GPUs: choose one")
		}
	}
	if err := web.Validate(f.WebConfig); err != nil {
		c.complain("--web.config.file: %w", err)
	}
	if f.Simulate != "" {
		profile, err := simulate.Load(f.Simulate, os.ReadFile)
		if err != nil {
			c.complain("--simulate: %w", err)
		}
		config.Simulate = profile
	}
	return config, errors.Join(c.errs...)
}

func (c *check) oneOf(name, value string, allowed ...string) {
	for _, a := range allowed {
		if value == a {
			return
		}
	}
	c.complain("--%s %q: want %s", name, value, strings.Join(allowed, ", "))
}

func (c *check) duration(name, value string, least, most time.Duration) time.Duration {
	d, err := time.ParseDuration(value)
	if err != nil || d < least || d > most {
		c.complain("--%s %q: want a duration from %v to %v, such as 500ms or 2s", name, value, least, most)
	}
	return d
}

func (c *check) node(name string) string {
	if name == "" {
		host, err := os.Hostname()
		if err != nil {
			c.complain("--node: the host's name can't be found, so it has to be given: %w", err)
			return ""
		}
		name = host
	}
	if !pressure.ValidName(name) || len(name) > maxOwnName {
		c.complain("--node %q: want at most %d bytes without control characters", name, maxOwnName)
	}
	return name
}

func (c *check) engines(f *flags, config *Config) {
	names := map[string]bool{}
	for _, text := range f.Engine {
		name, address, u := "", text, (*url.URL)(nil)
		// A URL can have "=" in its query, a name can't have "/".
		if before, after, ok := strings.Cut(text, "="); ok && !strings.Contains(before, "/") {
			name, address = before, after
		}
		if u = c.url("engine", address, "/metrics", "http", "https"); u == nil {
			continue
		}
		if name == "" {
			name = u.Host
		}
		if !pressure.ValidName(name) || len(name) > maxOwnName {
			c.complain("--engine %q: want a name of at most %d bytes without control characters", text, maxOwnName)
		}
		if names[name] {
			c.complain("--engine %q: another engine has the name %q too: give one as NAME=URL", text, name)
		}
		names[name] = true
		config.Engines = append(config.Engines, Engine{Name: config.Node + "/" + name, URL: u})
	}
	for _, text := range f.EngineGpus {
		name, list, ok := strings.Cut(text, "=")
		gpus := strings.Split(list, "+")
		switch full := config.Node + "/" + name; {
		case !ok || list == "":
			c.complain("--engine-gpus %q: want NAME=GPU+GPU, such as vllm=0+1", text)
		case !names[name]:
			c.complain("--engine-gpus %q: no --engine has the name %q", text, name)
		default:
			if config.EngineGPUs == nil {
				config.EngineGPUs = map[string][]string{}
			}
			config.EngineGPUs[full] = append(config.EngineGPUs[full], gpus...)
		}
	}
}

func (c *check) peers(f *flags, config *Config) {
	seen := map[string]bool{}
	for _, text := range f.Peer {
		u := c.url("peer", text, "/v1/pressure", "http", "https", "dns+http", "dns+https")
		if u == nil {
			continue
		}
		if seen[u.String()] {
			c.complain("--peer %q: is given twice", text)
		}
		seen[u.String()] = true
		config.Peers = append(config.Peers, u)
	}
}

// url reads an absolute URL. Without a path it gets the usual one.
func (c *check) url(name, text, path string, schemes ...string) *url.URL {
	u, err := url.Parse(text)
	if err == nil && u.Hostname() != "" {
		for _, s := range schemes {
			if u.Scheme != s {
				continue
			}
			if u.Path == "" || u.Path == "/" {
				u.Path = path
			}
			return u
		}
	}
	c.complain("--%s %q: want %s://HOST:PORT", name, text, strings.Join(schemes, ":// or "))
	return nil
}
