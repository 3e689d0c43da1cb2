package pressuretest

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

// peers answers as so many exporters as there are paths, each with one instance and its GPU.
func peers(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/")
	_, _ = fmt.Fprintf(w, `{"version":1,"time":"2026-01-01T00:00:00Z","instances":[{"name":"node-%s/vllm","gpus":[{"uuid":"GPU-%s-00000000-0000-0000-0000-000000000000",`+
		`"memoryUsedBytes":70866960384,"memoryTotalBytes":85899345920,"utilization":0.87,"throttled":false}],"activeDecodeBlocks":0.9123456,`+
		`"activePrefillTokens":4321,"running":17,"waiting":3,"ageSeconds":0.1}]}`, name, name)
}

// thousandPeers is one exporter that speaks for a thousand others, and one that tells more than the filter reads.
func thousandPeers(t *testing.T, m *measured) {
	server := httptest.NewServer(http.HandlerFunc(peers))
	t.Cleanup(server.Close)
	var urls []string
	for i := range 1000 {
		urls = append(urls, fmt.Sprint(server.URL, "/", i))
	}
	// It takes what it takes to ask a thousand, and to read what they said: that has to be young enough for a slow machine, too.
	patient := strings.NewReplacer("300ms", "3s", "1500ms", "1h")
	if err := m.Reconfigure(patient.Replace(config("full", ""))); err != nil {
		t.Fatal(err)
	}
	x := m.run("--interval=5s", "--timeout=5m", "--peer="+strings.Join(urls, ","))
	m.instances(1000)
	m.becomes(stages[4])
	if n := m.bed.Sum("spillway_errors_total", "reason", "pressure_instances"); n != 0 {
		t.Errorf("%v instances were left out", n)
	}
	t.Logf("1,000 peers: a document of %d bytes", m.size())
	x.Stop(5 * time.Second)
	// Those beyond the bound are left out, whatever they say: here it is the last 76, which are free.
	m.run("--max-instances=1100", profile(t, `
instances:
  - {name: a, count: 1024, activeDecodeBlocks: 0.7, activePrefillTokens: 0, gpus: {count: 1, memoryTotalBytes: 80, memoryUsed: 0.5}}
  - {name: b, count: 76, activeDecodeBlocks: 0.1, activePrefillTokens: 0, gpus: {count: 1, memoryTotalBytes: 80, memoryUsed: 0.5}}`))
	m.instances(1024)
	m.becomes(stages[1])
	if n := m.bed.Sum("spillway_errors_total", "reason", "pressure_instances"); n == 0 || int(n)%76 != 0 {
		t.Errorf("%v instances were left out, want 76 of each document", n)
	}
	if err := m.Reconfigure(config("full", "")); err != nil {
		t.Fatal(err)
	}
}

// instances waits until the filter has read so many.
func (m *measured) instances(n float64) {
	m.t.Helper()
	harness.Await(m.t, patience, fmt.Sprint(n, " instances"), func() bool { return gauge(m.bed, "spillway_pressure", "kind", "instances") == n })
}

// size is that of the exporter's document.
func (m *measured) size() int {
	m.t.Helper()
	response, err := http.Get("http://" + m.address + "/v1/pressure")
	if err != nil {
		m.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		m.t.Fatal(err)
	}
	return len(body)
}
