package dcgm

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/gpuexporter/internal/fetch"
	"github.com/spillway-proxy/spillway/gpuexporter/internal/source"
)

func page(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile("testdata/dcgm-exporter-4.8.txt")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func asJSON(t *testing.T, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A page as dcgm-exporter writes it: a GPU of a pod that is held down by heat, and one in MIG mode.
func TestParse(t *testing.T) {
	gpus, skipped := parse([]byte(page(t)))
	const want = `[{"Index":0,"UUID":"GPU-604ac76c-d9cf-fef3-62e9-d92044ab6e52","Name":"NVIDIA A100-SXM4-80GB","Lost":false,` +
		`"MemoryUsed":77434191872,"MemoryTotal":85899345920,"Utilization":0.87,"MemoryUtilization":0.45,"Power":391.25,"PowerLimit":null,` +
		`"Temperature":64,"Throttle":32,"ECCCorrected":null,"ECCUncorrected":null,"MIGEnabled":null,"MIG":null,"Processes":null},` +
		`{"Index":1,"UUID":"GPU-1b1f43a5-1e1b-4d3f-8a2e-0c58bd1aa6f1","Name":"NVIDIA A100-SXM4-80GB","Lost":false,` +
		`"MemoryUsed":10888413184,"MemoryTotal":84288733184,"Utilization":null,"MemoryUtilization":null,"Power":null,"PowerLimit":null,` +
		`"Temperature":31,"Throttle":null,"ECCCorrected":null,"ECCUncorrected":null,"MIGEnabled":null,"MIG":[` +
		`{"UUID":"GPU-1b1f43a5-1e1b-4d3f-8a2e-0c58bd1aa6f1/1","MemoryUsed":10687086592,"MemoryTotal":42144366592},` +
		`{"UUID":"GPU-1b1f43a5-1e1b-4d3f-8a2e-0c58bd1aa6f1/2","MemoryUsed":201326592,"MemoryTotal":42144366592}],"Processes":null}]`
	if got := asJSON(t, gpus); got != want || skipped != 0 {
		t.Errorf("%d skipped, got\n%s\nwant\n%s", skipped, got, want)
	}
	if p := gpus[0].Pressure(); p.Throttled == nil || !*p.Throttled {
		t.Errorf("GPU 0 isn't throttled: %+v", p)
	}
}

func TestWhatIsOddTakesNothingAlong(t *testing.T) {
	const good = `DCGM_FI_DEV_GPU_UTIL{gpu="0",UUID="a",modelName="A"} 50` + "\n"
	for name, test := range map[string]struct {
		text    string
		skipped int
	}{
		"a name that isn't escaped":    {`DCGM_FI_DEV_GPU_UTIL{gpu="1",UUID="b",modelName="A "very" good one"} 50`, 1},
		"not supported":                {`DCGM_FI_DEV_FB_USED{gpu="0",UUID="a"} 9223372036854775794`, 1},
		"not supported, as a fraction": {`DCGM_FI_DEV_POWER_USAGE{gpu="0",UUID="a"} 140737488355328.000000`, 1},
		"no number":                    {`DCGM_FI_DEV_GPU_UTIL{gpu="0",UUID="a"} ERROR - FAILED TO CONVERT TO STRING`, 1},
		"NaN":                          {`DCGM_FI_DEV_GPU_TEMP{gpu="0",UUID="a"} NaN`, 1},
		"no UUID":                      {`DCGM_FI_DEV_GPU_UTIL{gpu="1"} 50`, 1},
		"no GPU":                       {`DCGM_FI_DEV_GPU_UTIL{UUID="b"} 50`, 1},
		"a control character":          {`DCGM_FI_DEV_GPU_UTIL{gpu="1",UUID="b\n"} 50`, 1},
		"told again for another pod":   {`DCGM_FI_DEV_GPU_UTIL{gpu="0",UUID="a",pod="other"} 50`, 0},
		"another metric":               {`DCGM_FI_DEV_SM_CLOCK{gpu="1",UUID="b"} what`, 0},
		"HTML":                         {"<html>\n<body>", 0},
	} {
		t.Run(name, func(t *testing.T) {
			for _, text := range []string{test.text + "\n" + good, good + test.text} {
				gpus, skipped := parse([]byte(text))
				if len(gpus) != 1 || gpus[0].Utilization == nil || *gpus[0].Utilization != 0.5 || gpus[0].MemoryUsed != nil ||
					gpus[0].Power != nil || skipped != test.skipped {
					t.Errorf("%d skipped, %s", skipped, asJSON(t, gpus))
				}
			}
		})
	}
}

func TestWhatAPageTellsIsBounded(t *testing.T) {
	var b strings.Builder
	for i := range maxGPUs + 5 {
		fmt.Fprintf(&b, "DCGM_FI_DEV_GPU_UTIL{gpu=%q,UUID=%q} 1\n", fmt.Sprint(i), fmt.Sprint("GPU-", i))
	}
	if gpus, skipped := parse([]byte(b.String())); len(gpus) != maxGPUs || skipped != 5 {
		t.Errorf("%d GPUs, %d skipped", len(gpus), skipped)
	}
}

func sample(t *testing.T, handler http.HandlerFunc) (source.Sample, error) {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	u, err := url.Parse(server.URL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword("prometheus", "secret")
	return New(u, fetch.NewClient()).Sample(t.Context())
}

func TestItAsksAsPrometheusDoes(t *testing.T) {
	s, err := sample(t, func(w http.ResponseWriter, r *http.Request) {
		if user, password, ok := r.BasicAuth(); !ok || user != "prometheus" || password != "secret" || r.URL.Path != "/metrics" {
			w.WriteHeader(http.StatusUnauthorized)
		}
		fmt.Fprint(w, page(t))
	})
	if err != nil || len(s.GPUs) != 2 || s.Targets != 1 {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestWhatIsNoDCGMExporter(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"another exporter": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "node_load1 0.5\n") },
		"an error":         func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"a redirect":       func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/login", http.StatusFound) },
		"garbage":          func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "\x00\xff{{{\n\"\\") },
		"too much": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, page(t), strings.Repeat("#", maxBody))
		},
	} {
		t.Run(name, func(t *testing.T) {
			if s, err := sample(t, handler); err == nil || strings.Contains(err.Error(), "secret") {
				t.Errorf("%+v, %v", s, err)
			}
		})
	}
}

// Whatever a page says: no panic, and what comes out can be told to the filter.
func FuzzParse(f *testing.F) {
	f.Add(page(f))
	f.Add(`DCGM_FI_DEV_FB_USED{gpu="0",UUID="a",GPU_I_ID="3"} 1e13`)
	f.Fuzz(func(t *testing.T, text string) {
		gpus, _ := parse([]byte(text))
		for _, g := range gpus {
			p := g.Pressure()
			if g.MemoryUsed != nil && g.MemoryTotal != nil && g.MIG == nil && *g.MemoryUsed > *g.MemoryTotal+1<<47 || p.UUID == "" ||
				p.Utilization != nil && (*p.Utilization < 0 || *p.Utilization > 1) {
				t.Errorf("%+v", g)
			}
		}
	})
}
