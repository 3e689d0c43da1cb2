package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// settings are what a user can choose.
type settings struct {
	gatewayPort, adminPort, simPort, exporterPort int
	surfacePort                                   int    // of Spillway's admin surface; 0 with a fleet, which has none
	token                                         string // with which things can be changed there, made at the start
	upstream                                      upstream
	found                                         found  // of the upstream
	config                                        string // the file with the filter's configuration; "": spillway.yaml beside the bootstraps, or what these have
	chosen                                        chosen // what is in it
	exporterArgs                                  string // of gpuexporter, separated by spaces; "" is what chooseSource finds, or that there is none
	sourceChosen                                  bool   // so that "" is that there is none
	concurrency                                   int    // Envoy's worker threads; 0 is one per CPU
	fleet                                         bool   // two Envoys that share limits, instead of one
	fleetPorts
}

// fleetPorts are those that only a fleet has; 0 without one.
type fleetPorts struct{ gateway2, admin2, redis, ratelimit int }

const help = `spillway-run starts an LLM simulator, Envoy with Spillway in front of it, and gpuexporter, until Ctrl-C.

Each setting is a flag, or an environment variable (for "make run NAME=value"); the flag wins.

`

// choice describes a setting that is a number: its flag, its environment variable, and its default.
type choice struct {
	value        *int
	flag, env    string
	initial      int
	isPort       bool
	usage        string
	onlyForSim   bool
	onlyForFleet bool
	notForFleet  bool
}

func (s *settings) choices() []choice {
	return []choice{
		{value: &s.gatewayPort, flag: "gateway-port", env: "GATEWAY_PORT", initial: 10000, isPort: true, usage: "`port` that clients use"},
		{value: &s.surfacePort, flag: "admin-port", env: "ADMIN_PORT", initial: 10001, isPort: true, usage: "`port` of Spillway's admin surface", notForFleet: true},
		{value: &s.adminPort, flag: "envoy-admin-port", env: "ENVOY_ADMIN_PORT", initial: 9901, isPort: true, usage: "`port` of Envoy's admin interface"},
		{value: &s.simPort, flag: "sim-port", env: "SIM_PORT", initial: 8000, isPort: true, usage: "`port` of the LLM simulator", onlyForSim: true},
		{value: &s.exporterPort, flag: "gpuexporter-port", env: "GPUEXPORTER_PORT", initial: 9401, isPort: true, usage: "`port` of gpuexporter"},
		{value: &s.gateway2, flag: "gateway2-port", env: "GATEWAY2_PORT", initial: 10010, isPort: true, usage: "`port` of the second Envoy of a fleet", onlyForFleet: true},
		{value: &s.admin2, flag: "envoy2-admin-port", env: "ENVOY2_ADMIN_PORT", initial: 9911, isPort: true, usage: "`port` of its admin interface", onlyForFleet: true},
		{value: &s.redis, flag: "redis-port", env: "REDIS_PORT", initial: 6379, isPort: true, usage: "`port` of a fleet's Redis", onlyForFleet: true},
		{value: &s.ratelimit, flag: "ratelimit-port", env: "RATELIMIT_PORT", initial: 8081, isPort: true, usage: "`port` of a fleet's ratelimit", onlyForFleet: true},
		{value: &s.concurrency, flag: "concurrency", env: "CONCURRENCY", usage: "`number` of Envoy's worker threads; 0 is one per CPU"},
	}
}

// parse reads the command line and the environment.
func parse(args []string, getenv func(string) string) (settings, error) {
	var s settings
	flags := flag.NewFlagSet("spillway-run", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // main says what is wrong, in one line
	for _, c := range s.choices() {
		initial := c.initial
		if text := getenv(c.env); text != "" {
			number, err := strconv.Atoi(text)
			if err != nil {
				return s, fmt.Errorf("%s=%q is not a number", c.env, text)
			}
			initial = number
		}
		flags.IntVar(c.value, c.flag, initial, c.usage+" ("+c.env+")")
	}
	upstream := flags.String("upstream", getenv("UPSTREAM"),
		"`host:port` of a real server, or its URL, http:// or https://, instead of the simulator (UPSTREAM). SSL_CERT_FILE names the certificates to believe instead of the system's")
	flags.StringVar(&s.config, "config", getenv("CONFIG"),
		"`file` with the filter's configuration, YAML or JSON, alone or in a WasmPlugin and the like, instead of envoy/spillway.yaml, or, if that isn't there, of what envoy/standalone.yaml has (CONFIG)")
	flags.StringVar(&s.exporterArgs, "gpuexporter-args", getenv("GPUEXPORTER_ARGS"),
		"`arguments` of gpuexporter, separated by spaces, instead of this machine's GPUs and the metrics of UPSTREAM; \"--simulate ramp\" simulates (GPUEXPORTER_ARGS)")
	flags.BoolVar(&s.fleet, "fleet", false, "run two Envoys that share limits through ratelimit and Redis (make run-fleet)")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Print(help)
			flags.SetOutput(os.Stdout)
			flags.PrintDefaults()
		}
		return s, err
	}
	if flags.NArg() > 0 {
		return s, fmt.Errorf("%q is not a flag; see --help", flags.Arg(0))
	}
	if s.fleet {
		s.surfacePort = 0
	} else {
		s.fleetPorts = fleetPorts{}
	}
	if *upstream != "" {
		var err error
		if s.upstream, err = parseUpstream(*upstream); err != nil {
			return s, err
		}
	}
	return s, s.validate()
}

func (s *settings) validate() error {
	if s.concurrency < 0 {
		return fmt.Errorf("CONCURRENCY is %d; it must be 0 (one worker per CPU) or more", s.concurrency)
	}
	taken := make(map[int]string)
	for _, c := range s.ports() {
		if *c.value < 1 || *c.value > 65535 {
			return fmt.Errorf("%s is %d; a port is from 1 to 65535", c.env, *c.value)
		}
		if other := taken[*c.value]; other != "" {
			return fmt.Errorf("%s and %s are both %d; each needs a port of its own", other, c.env, *c.value)
		}
		taken[*c.value] = c.env
	}
	return nil
}

// What gpuexporter measures where GPUEXPORTER_ARGS doesn't say.
const (
	nvidiaDevice = "/dev/nvidiactl" // is there once NVIDIA's driver is loaded
	ownGPUs      = "--nvml on"
	noGPUs       = "--nvml off"
)

// chooseSource has gpuexporter measure this machine's GPUs where there are any, and read the upstream's metrics where it has any. Where there is
// neither, there is no exporter.
func (s *settings) chooseSource(device string) {
	s.sourceChosen = true
	if s.exporterArgs != "" {
		return
	}
	_, err := os.Stat(device)
	switch {
	case err == nil:
		s.exporterArgs = ownGPUs
	case s.found.metrics:
		s.exporterArgs = noGPUs
	}
	if s.found.metrics {
		s.exporterArgs += " --engine " + s.upstream.url()
	}
}

// ports are the settings whose ports this run listens on.
func (s *settings) ports() []choice {
	var ports []choice
	for _, c := range s.choices() {
		if c.value == &s.exporterPort && s.sourceChosen && s.exporterArgs == "" {
			continue
		}
		if c.isPort && (!c.onlyForSim || s.upstream == upstream{}) && (!c.onlyForFleet || s.fleet) && !(c.notForFleet && s.fleet) {
			ports = append(ports, c)
		}
	}
	return ports
}

// checkPorts finds the ports that something else listens on, before anything is started.
func (s *settings) checkPorts() error {
	var busy []error
	for _, c := range s.ports() {
		if err := checkPort(*c.value); err != nil {
			busy = append(busy, portError(c, err))
		}
	}
	return errors.Join(busy...)
}

func portError(c choice, err error) error {
	name := strings.TrimSuffix(c.flag, "-port")
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("port %d (%s) is already in use; stop what listens there or set %s=…", *c.value, name, c.env)
	}
	return fmt.Errorf("port %d (%s) can't be listened on: %w; set %s=…", *c.value, name, err, c.env)
}

func checkPort(port int) error {
	listener, err := net.Listen("tcp", local(port))
	if err != nil {
		var call *os.SyscallError
		if errors.As(err, &call) {
			return call // without the address, which the message around it names
		}
		return err
	}
	return listener.Close()
}

// local is an address of this machine that no other reaches.
func local(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
