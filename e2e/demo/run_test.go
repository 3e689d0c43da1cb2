package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

const simulated = "--simulate ramp --node demo"

// asMain makes this test binary behave as the program.
const asMain = "SPILLWAY_RUN_AS_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asMain) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// started is a running program.
type started struct {
	*exec.Cmd
	lines  chan string // of its standard output; closed at its end
	stderr *bytes.Buffer
}

func start(t *testing.T, env ...string) started {
	t.Helper()
	return startWith(t, nil, env...)
}

func startWith(t *testing.T, args []string, env ...string) started {
	t.Helper()
	s := started{Cmd: exec.Command(os.Args[0], args...), lines: make(chan string, 1000), stderr: new(bytes.Buffer)}
	s.Env = append(os.Environ(), asMain+"=1")
	s.Env = append(s.Env, env...)
	s.Stderr = s.stderr
	stdout, err := s.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = s.Process.Kill()
		_ = s.Wait()
	})
	go func() {
		defer close(s.lines)
		for scanner := bufio.NewScanner(stdout); scanner.Scan(); {
			s.lines <- scanner.Text()
		}
	}()
	return s
}

// await reads the output up to a line that contains text, and returns all of it.
func (s started) await(t *testing.T, text string) (output string) {
	t.Helper()
	timeout := time.After(startTimeout)
	for {
		select {
		case line, open := <-s.lines:
			if !open {
				t.Fatalf("ended without %q; said:\n%s%s", text, output, s.stderr)
			}
			output += line + "\n"
			if strings.Contains(line, text) {
				return output
			}
		case <-timeout:
			t.Fatalf("%q did not come; there is:\n%s", text, output)
		}
	}
}

func listening(port int) bool {
	connection, err := net.Dial("tcp", local(port))
	if err == nil {
		_ = connection.Close()
	}
	return err == nil
}

// What it prints works, the fifth answer is a 429, and Ctrl-C leaves nothing behind.
func TestRunServesUntilInterrupted(t *testing.T) {
	t.Parallel()
	ports, temporary := harness.FreePorts(t, 5), t.TempDir()
	s := start(t, "TMPDIR="+temporary, "UPSTREAM=", "GPUEXPORTER_ARGS="+simulated, "CONFIG=", fmt.Sprint("GATEWAY_PORT=", ports[0]),
		fmt.Sprint("ENVOY_ADMIN_PORT=", ports[1]), fmt.Sprint("SIM_PORT=", ports[2]), fmt.Sprint("GPUEXPORTER_PORT=", ports[3]), fmt.Sprint("ADMIN_PORT=", ports[4]))
	output := s.await(t, "Ctrl-C stops everything")

	if !regexp.MustCompile(`(?m)^ready in \d+\.\d s$`).MatchString(output) {
		t.Errorf("it does not say how long Envoy took:\n%s", output)
	}
	if got := strings.Count(output, "curl "); got != 6 {
		t.Errorf("it prints %d curls, want 6", got)
	}
	if want := "  user-completion-tokens: each user may use 300 completion tokens an hour."; !strings.Contains(output, want) {
		t.Errorf("it doesn't say what runs: no %q in\n%s", want, output)
	}
	if want := "# the limit: 200 200 200 200 429\n"; !strings.Contains(output, want) {
		t.Errorf("no %q in\n%s", want, output)
	}
	checkSurface(t, output)
	awaitPressure(t, output)
	for began, n := time.Now(), 1; ; n++ {
		asked := time.Now()
		got := try(t, output, fmt.Sprint("carol-", n))
		if got == "200 200 200 200 429" {
			break
		}
		if time.Since(asked) < 40*time.Second || time.Since(began) > harness.Patience { // after 48 s what comes back of the limit lets the fifth pass
			t.Fatalf("five requests got %s, want 200 200 200 200 429", got)
		}
	}
	s.await(t, `"status":429`) // the access log

	if err := s.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	s.await(t, "stopping")
	if err := s.Wait(); err != nil {
		t.Errorf("after Ctrl-C it ended with %v, want exit status 0; it said: %s", err, s.stderr)
	}
	for _, port := range ports {
		if listening(port) {
			t.Errorf("something still listens on port %d", port)
		}
	}
	if left, _ := os.ReadDir(temporary); len(left) > 0 {
		t.Errorf("it left %v behind", left)
	}
}

// checkSurface follows the instructions for the admin surface.
func checkSurface(t *testing.T, instructions string) {
	t.Helper()
	page := regexp.MustCompile(`dashboard +(http://\S+/spillway/) +token, to change things: (\S{26})\n`).FindStringSubmatch(instructions)
	if page == nil {
		t.Fatalf("no dashboard in the instructions:\n%s", instructions)
	}
	if text := look(t, page[1]); !strings.Contains(text, "<title>") {
		t.Errorf("the dashboard is %q", text)
	}
	url := regexp.MustCompile(`http://\S+/spillway/status`).FindString(instructions)
	harness.Await(t, harness.Patience, "all workers have reported", func() bool {
		return strings.Contains(look(t, url), `"name":"user-completion-tokens"`) && !strings.Contains(look(t, url), `"workers":0`)
	})
}

// awaitPressure follows the instructions for the pressure until it moves, at the exporter and in the filter. Where Envoy's
// start took a minute, the servers are full by now, and stay so for half of one.
func awaitPressure(t *testing.T, instructions string) {
	t.Helper()
	for _, pattern := range []string{`http://\S+/v1/pressure`, `http://\S+spillway_pressure`} {
		url := regexp.MustCompile(pattern).FindString(instructions)
		first := "" // the filter tells nothing before its first fetch
		harness.Await(t, harness.Patience, url+" tells of a pressure that moves", func() bool {
			now := blocks(look(t, url))
			if first == "" {
				first = now
			}
			return now != first
		})
	}
}

// blocks is the first share of blocks in use that a text tells.
func blocks(text string) string {
	return regexp.MustCompile(`(activeDecodeBlocks|active_decode_blocks)\W+\d[\d.]*`).FindString(text)
}

func look(t *testing.T, url string) string {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// try sends the request that the instructions print last five times, as a user, and returns the statuses.
func try(t *testing.T, instructions, user string) string {
	t.Helper()
	loop := instructions[strings.LastIndex(instructions, "curl "):]
	url := regexp.MustCompile(`http://\S+`).FindString(loop)
	body := regexp.MustCompile(`-d '(.*)'`).FindStringSubmatch(loop)
	if url == "" || body == nil {
		t.Fatalf("no request in %q", loop)
	}
	var statuses []string
	for range 5 {
		request, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body[1]))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("content-type", "application/json")
		request.Header.Set("x-user-id", user)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		statuses = append(statuses, fmt.Sprint(response.StatusCode))
	}
	return strings.Join(statuses, " ")
}

// Killed, it takes Envoy and the exporter with it. CONFIG is what runs.
func TestRunKilledLeavesNothingRunning(t *testing.T) {
	t.Parallel()
	ports, mine := harness.FreePorts(t, 4), filepath.Join(t.TempDir(), "mine.yaml")
	if err := os.WriteFile(mine, []byte("limits: [{name: all-of-mine, unit: requests, quantity: 5, window: 1m}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, "CONFIG="+mine, "UPSTREAM=127.0.0.1:9", "GPUEXPORTER_ARGS=--nvml off --engine http://127.0.0.1:9", fmt.Sprint("GATEWAY_PORT=", ports[0]),
		fmt.Sprint("ENVOY_ADMIN_PORT=", ports[1]), fmt.Sprint("GPUEXPORTER_PORT=", ports[2]), fmt.Sprint("ADMIN_PORT=", ports[3]))
	s.await(t, "Ctrl-C stops everything")
	harness.Await(t, harness.Patience, "the limit of CONFIG is in force", func() bool {
		return strings.Contains(look(t, "http://"+local(ports[3])+"/spillway/status"), `"name":"all-of-mine"`)
	})
	if err := s.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	harness.Await(t, harness.Patience, "nobody listens any more", func() bool {
		return !slices.ContainsFunc(ports, listening)
	})
}

// An exporter that can't run ends it before Envoy is started, with the exporter's own words.
func TestRunEndsWhenTheExporterDoes(t *testing.T) {
	t.Parallel()
	ports := harness.FreePorts(t, 4)
	s := start(t, "UPSTREAM=127.0.0.1:9", "GPUEXPORTER_ARGS=--simulate nonsense", fmt.Sprint("GATEWAY_PORT=", ports[0]),
		fmt.Sprint("ENVOY_ADMIN_PORT=", ports[1]), fmt.Sprint("GPUEXPORTER_PORT=", ports[2]), fmt.Sprint("ADMIN_PORT=", ports[3]))
	for line := range s.lines {
		t.Errorf("it said %q", line)
	}
	if err := s.Wait(); err == nil {
		t.Error("it ended with exit status 0")
	}
	for _, want := range []string{`profile "nonsense"`, "spillway-run: await gpuexporter: it ended before it was ready (exit status 1)"} {
		if !strings.Contains(s.stderr.String(), want) {
			t.Errorf("it said %q, want %q in it", s.stderr, want)
		}
	}
}

func TestRunNamesBusyPortsBeforeItStarts(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", local(0))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	port := listener.Addr().(*net.TCPAddr).Port
	free := harness.FreePorts(t, 3)
	s := start(t, "UPSTREAM=127.0.0.1:9", fmt.Sprint("GATEWAY_PORT=", port), fmt.Sprint("ENVOY_ADMIN_PORT=", free[0]),
		fmt.Sprint("GPUEXPORTER_PORT=", free[1]), fmt.Sprint("ADMIN_PORT=", free[2]))
	for line := range s.lines {
		t.Errorf("it said %q before it looked at the ports", line)
	}
	if err := s.Wait(); err == nil {
		t.Error("it ended with exit status 0")
	}
	want := fmt.Sprintf("spillway-run: port %d (gateway) is already in use; stop what listens there or set GATEWAY_PORT=…\n", port)
	if got := s.stderr.String(); got != want {
		t.Errorf("it said %q, want %q", got, want)
	}
}

// This machine's GPUs are measured where there are any, and the upstream's metrics, unless told otherwise. Nothing is made up that nobody asked for.
func TestSource(t *testing.T) {
	t.Parallel()
	device := filepath.Join(t.TempDir(), "nvidiactl")
	for _, test := range []struct {
		name, args, want string
		gpu, metrics     bool
	}{
		{name: "nothing", want: ""},
		{name: "an engine", metrics: true, want: "--nvml off --engine http://127.0.0.1:8000"},
		{name: "a GPU", gpu: true, want: ownGPUs},
		{name: "both", gpu: true, metrics: true, want: "--nvml on --engine http://127.0.0.1:8000"},
		{name: "told", gpu: true, metrics: true, args: "--nvml off", want: "--nvml off"},
	} {
		if test.gpu {
			if err := os.WriteFile(device, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s := settings{exporterArgs: test.args, upstream: upstream{address: "127.0.0.1:8000"}, found: found{metrics: test.metrics}}
		if s.chooseSource(device); s.exporterArgs != test.want {
			t.Errorf("%s: gpuexporter %s, want %s", test.name, s.exporterArgs, test.want)
		}
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		args []string
		env  map[string]string
		want settings
		err  string // a part of the error
	}{
		{name: "defaults", want: settings{gatewayPort: 10000, surfacePort: 10001, adminPort: 9901, simPort: 8000, exporterPort: 9401}},
		{
			name: "environment",
			env: map[string]string{
				"GATEWAY_PORT": "1", "ENVOY_ADMIN_PORT": "2", "SIM_PORT": "3", "CONCURRENCY": "4", "GPUEXPORTER_PORT": "5", "GPUEXPORTER_ARGS": "--nvml on",
			},
			want: settings{gatewayPort: 1, surfacePort: 10001, adminPort: 2, simPort: 3, concurrency: 4, exporterPort: 5, exporterArgs: "--nvml on"},
		},
		{
			name: "a flag wins", args: []string{"-gateway-port", "5"}, env: map[string]string{"GATEWAY_PORT": "1"},
			want: settings{gatewayPort: 5, surfacePort: 10001, adminPort: 9901, simPort: 8000, exporterPort: 9401},
		},
		{
			name: "a server on the simulator's port", env: map[string]string{"UPSTREAM": "http://localhost:8000/", "GATEWAY_PORT": "8000"},
			want: settings{gatewayPort: 8000, surfacePort: 10001, adminPort: 9901, simPort: 8000, exporterPort: 9401, upstream: upstream{address: "localhost:8000"}},
		},
		{
			name: "a fleet", args: []string{"-fleet"}, env: map[string]string{"REDIS_PORT": "6380"},
			want: settings{
				gatewayPort: 10000, adminPort: 9901, simPort: 8000, exporterPort: 9401, fleet: true,
				fleetPorts: fleetPorts{gateway2: 10010, admin2: 9911, redis: 6380, ratelimit: 8081},
			},
		},
		{
			name: "a fleet's port twice", args: []string{"-fleet"}, env: map[string]string{"GATEWAY2_PORT": "10000"},
			err: "GATEWAY_PORT and GATEWAY2_PORT are both 10000",
		},
		{name: "not a number", env: map[string]string{"SIM_PORT": "http"}, err: `SIM_PORT="http" is not a number`},
		{name: "no such port", env: map[string]string{"SIM_PORT": "65536"}, err: "SIM_PORT is 65536; a port is from 1 to 65535"},
		{name: "one port twice", env: map[string]string{"SIM_PORT": "10000"}, err: "GATEWAY_PORT and SIM_PORT are both 10000"},
		{name: "no port", env: map[string]string{"UPSTREAM": "localhost"}, err: "UPSTREAM"},
		{
			name: "TLS", env: map[string]string{"UPSTREAM": "https://api.example/"},
			want: settings{gatewayPort: 10000, surfacePort: 10001, adminPort: 9901, simPort: 8000, exporterPort: 9401, upstream: upstream{address: "api.example:443", tls: true}},
		},
		{
			name: "a URL without a port", env: map[string]string{"UPSTREAM": "http://[::1]"},
			want: settings{gatewayPort: 10000, surfacePort: 10001, adminPort: 9901, simPort: 8000, exporterPort: 9401, upstream: upstream{address: "[::1]:80"}},
		},
		{name: "a path", env: map[string]string{"UPSTREAM": "https://api.example/v1"}, err: "leave out /v1: the path is the client's. Want https://api.example"},
		{name: "another protocol", env: map[string]string{"UPSTREAM": "grpc://api.example"}, err: "grpc:// is neither"},
		{name: "concurrency", env: map[string]string{"CONCURRENCY": "-1"}, err: "CONCURRENCY is -1"},
		{name: "an argument", args: []string{"now"}, err: `"now" is not a flag`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := parse(test.args, func(name string) string { return test.env[name] })
			if test.err == "" && (err != nil || !reflect.DeepEqual(got, test.want)) {
				t.Errorf("got %+v, %v, want %+v", got, err, test.want)
			}
			if test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
				t.Errorf("got error %v, want one that says %q", err, test.err)
			}
		})
	}
}
