package settings

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestDefaults(t *testing.T) {
	c, err := Parse([]string{"--node", "n"}, "v", &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		Listen: "127.0.0.1:9401", Shutdown: 5 * time.Second, Node: "n", Interval: time.Second, Timeout: 2 * time.Second,
		NVML: Auto, MaxInstances: 1000, DropAfter: 5 * time.Minute, LogFormat: "text",
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
}

func TestAFlagWinsOverAVariableOverTheFileOverTheDefault(t *testing.T) {
	file := write(t, "interval: 3s\ntimeout: 4s\nmaxInstances: 7\nnvml: off\nengine: [a=http://a:1, http://b:2/m]\n")
	t.Setenv("GPUEXPORTER_INTERVAL", "5s")
	t.Setenv("GPUEXPORTER_TIMEOUT", "6s")
	t.Setenv("GPUEXPORTER_NODE", "n")
	c, err := Parse([]string{"--config", file, "--interval=7s"}, "v", &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	if c.Interval != 7*time.Second || c.Timeout != 6*time.Second || c.MaxInstances != 7 || c.NVML != Off || c.DropAfter != 5*time.Minute {
		t.Errorf("got %+v", c)
	}
	if len(c.Engines) != 2 || c.Engines[0].Name != "n/a" || c.Engines[0].URL.String() != "http://a:1/metrics" ||
		c.Engines[1].Name != "n/b:2" || c.Engines[1].URL.String() != "http://b:2/m" {
		t.Errorf("engines %+v", c.Engines)
	}
	t.Setenv("GPUEXPORTER_CONFIG", file)
	t.Setenv("GPUEXPORTER_ENGINE", "x=http://x,y=https://y/prometheus/metrics?a=b")
	if c, err = Parse(nil, "v", &bytes.Buffer{}); err != nil || len(c.Engines) != 2 || c.Engines[1].URL.String() != "https://y/prometheus/metrics?a=b" || c.MaxInstances != 7 {
		t.Errorf("by variables: %+v, %v", c, err)
	}
}

func TestSources(t *testing.T) {
	c, err := Parse([]string{
		"--node=n", "--engine=a=http://a:1", "--engine", "b=http://b:1", "--engine-gpus=a=0+1", "--engine-gpus=b=GPU-x,a=2",
		"--peer=http://p", "--peer=dns+http://q:9401/", "--simulate=ramp",
	}, "v", &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	if want := map[string][]string{"n/a": {"0", "1", "2"}, "n/b": {"GPU-x"}}; !reflect.DeepEqual(c.EngineGPUs, want) {
		t.Errorf("GPUs %v", c.EngineGPUs)
	}
	if c, err := Parse([]string{"--node=n", "--dcgm=http://d:9400"}, "v", &bytes.Buffer{}); err != nil || c.DCGM.String() != "http://d:9400/metrics" {
		t.Errorf("got %+v, %v", c, err)
	}
	if _, err := Parse([]string{"--node=n", "--dcgm=http://d:9400", "--nvml=on"}, "v", &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "choose one") {
		t.Errorf("both measure the same GPUs: %v", err)
	}
	if c.Peers[0].String() != "http://p/v1/pressure" || c.Peers[1].String() != "dns+http://q:9401/v1/pressure" || c.Simulate == nil {
		t.Errorf("got %+v", c)
	}
}

func TestAllMistakesAreToldAtOnce(t *testing.T) {
	_, err := Parse([]string{
		"--listen=9401", "--interval=1", "--timeout=-1s", "--drop-after=never", "--shutdown-timeout=x", "--nvml=maybe", "--log-level=loud",
		"--log-format=xml", "--max-instances=0", "--engine=localhost:8000", "--engine=ftp://x", "--engine=a=http://x", "--engine=a=http://y",
		"--engine-gpus=c=0", "--engine-gpus=a", "--peer=dns+ftp://x", "--peer=http://p", "--peer=http://p/", "--simulate=nowhere", "--node=\x01",
		"--dcgm=127.0.0.1:9400", "--web.config.file=/nowhere.yml", "--metrics=own", "--pod-resources=/s",
	}, "v", &bytes.Buffer{})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`--listen "9401"`, `--interval "1"`, `--timeout "-1s"`, `--drop-after "never"`, `--shutdown-timeout "x"`, `--nvml "maybe": want auto, on, off`,
		`--log-level "loud"`, `--log-format "xml"`, `--max-instances "0"`, `--engine "localhost:8000"`, `--engine "ftp://x"`,
		`another engine has the name "a"`, `no --engine has the name "c"`, `--engine-gpus "a": want`, `--peer "dns+ftp://x"`,
		`--dcgm "127.0.0.1:9400": want http:// or https://HOST:PORT`, `--metrics "own": want gpuexporter, dcgm`, `--pod-resources: pods are`, `--web.config.file: open /nowhere.yml`,
		`is given twice`, `"nowhere" is neither built in`, `--node`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("nothing of %s", want)
		}
	}
	if t.Failed() {
		t.Log(err)
	}
}

func TestMistakesInTheFile(t *testing.T) {
	for text, want := range map[string][]string{
		"intervall: 3s\nconfig: x\nnvml: {a: 1}\n": {`no setting has the name "intervall": want one of dcgm, dropAfter,`, `no setting has the name "config"`, `nvml: want a value`},
		"interval: [1s, 2s]\n":                     {"want one value, not a list"},
		"interval: 3s\ninterval: 4s\n":             {"already"},
		"- a\n":                                    {"cannot unmarshal"},
		"engine: [[a]]\n":                          {"engine: want a value or a list of values"},
		"interval: soon\n":                         {`--interval "soon": want a duration`},
	} {
		_, err := Parse([]string{"--config", write(t, text)}, "v", &bytes.Buffer{})
		if err == nil {
			t.Errorf("%q: no error", text)
			continue
		}
		for _, part := range want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q: nothing of %q in %v", text, part, err)
			}
		}
	}
	if _, err := Parse([]string{"--config", "/nowhere.yaml"}, "v", &bytes.Buffer{}); err == nil {
		t.Error("a file that isn't there: no error")
	}
	if _, err := Parse([]string{"--config", write(t, ""), "--node=n"}, "v", &bytes.Buffer{}); err != nil {
		t.Errorf("an empty file: %v", err)
	}
}

func TestUnknownFlags(t *testing.T) {
	for _, args := range [][]string{{"--intervall=1s"}, {"argument"}, {"--interval"}} {
		if _, err := Parse(args, "v", &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "--help") {
			t.Errorf("%q: error %v", args, err)
		}
	}
}

func TestHelpAndVersion(t *testing.T) {
	var help, version bytes.Buffer
	if _, err := Parse([]string{"--help"}, "v", &help); !errors.Is(err, ErrExit) {
		t.Errorf("error %v", err)
	}
	for _, want := range []string{"--engine-gpus", "$GPUEXPORTER_DROP_AFTER", "oom, ramp, saw, steady", "gpuexporter --simulate ramp", `--interval="1s"`} {
		if !strings.Contains(help.String(), want) {
			t.Errorf("nothing of %s in:\n%s", want, help.String())
		}
	}
	if _, err := Parse([]string{"--version"}, "v1.2", &version); !errors.Is(err, ErrExit) || version.String() != "v1.2\n" {
		t.Errorf("version %q, error %v", version.String(), err)
	}
}

// The README's table of flags has every flag.
func TestTheREADMEHasEveryFlag(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var help bytes.Buffer
	if _, err := Parse([]string{"--help"}, "v", &help); !errors.Is(err, ErrExit) {
		t.Fatal(err)
	}
	for _, word := range strings.Fields(help.String()) {
		name, _, _ := strings.Cut(word, "=")
		if strings.HasPrefix(name, "--") && !strings.Contains(string(text), "`"+name+"`") {
			t.Errorf("nothing of %s", name)
		}
	}
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
