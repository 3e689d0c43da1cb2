package harness

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
	"github.com/spillway-proxy/spillway/internal/promtext"
)

// Patience bounds whatever a test waits for. It is no measure of anything: other tests, and other programs, may have the machine, and
// what comes in time costs nothing of it.
const Patience = 10 * time.Minute

// Await polls a condition until it holds, and fails the test when it doesn't within the timeout. what completes the
// sentence "timed out waiting until ...".
func Await(t testing.TB, timeout time.Duration, what string, condition func() bool) {
	t.Helper()
	if !Comes(timeout, condition) {
		t.Fatalf("timed out after %v waiting until %s", timeout, what)
	}
}

// Comes polls a condition until it holds, and says whether it did within the timeout.
func Comes(timeout time.Duration, condition func() bool) bool {
	for deadline := time.Now().Add(timeout); !condition(); time.Sleep(envoyproc.PollInterval) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// KeepAsking asks again and again, as a page does that is open, until it is stopped.
func KeepAsking(ask func()) (stop func()) {
	end := make(chan struct{})
	var asking sync.WaitGroup
	asking.Go(func() {
		for {
			ask()
			select {
			case <-end:
				return
			case <-time.After(5 * envoyproc.PollInterval):
			}
		}
	})
	return func() { close(end); asking.Wait() }
}

// AwaitHour waits until the hour has so long to go: the windows of a limit in Redis begin on the hour, and a test that counts in one
// must not end in the next.
func AwaitHour(t testing.TB, enough time.Duration) {
	t.Helper()
	awaitWindow(t, time.Hour, enough)
}

// AwaitDay is AwaitHour for windows of a day, of UTC, and longer ones: next to nobody ever waits for it.
func AwaitDay(t testing.TB) {
	t.Helper()
	awaitWindow(t, 24*time.Hour, Patience)
}

func awaitWindow(t testing.TB, window, enough time.Duration) {
	t.Helper()
	Await(t, 2*enough, "the window is young", func() bool {
		now := time.Now()
		return now.Add(enough).Truncate(window).Equal(now.Truncate(window))
	})
}

// Admin is the body that Envoy's admin interface answers to GET path.
func (e *Envoy) Admin(path string) string {
	e.t.Helper()
	response, err := e.Client.Get(e.AdminURL + path)
	if err != nil {
		e.t.Fatalf("ask Envoy's admin interface: %v", err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		e.t.Fatalf("GET %s of Envoy's admin interface: status %d, %v: %s", path, response.StatusCode, err, body)
	}
	return string(body)
}

// Stats returns the counters and gauges whose names start with prefix, by their full names; the filter's own are
// "wasmcustom.spillway_…", with labels as they were before Envoy took them out.
func (e *Envoy) Stats(prefix string) map[string]uint64 {
	e.t.Helper()
	stats := make(map[string]uint64)
	for line := range strings.Lines(e.Admin("/stats?filter=" + url.QueryEscape("^"+regexp.QuoteMeta(prefix)))) {
		at := strings.LastIndex(line, ": ")
		if at < 0 {
			continue
		}
		if value, err := strconv.ParseUint(strings.TrimSpace(line[at+2:]), 10, 64); err == nil {
			stats[line[:at]] = value // a histogram has a text, not a number
		}
	}
	return stats
}

func (e *Envoy) stat(name string) uint64 {
	e.t.Helper()
	return e.Stats(name)[name]
}

// Prometheus is the text that a Prometheus server would get.
func (e *Envoy) Prometheus() string {
	e.t.Helper()
	return e.Admin("/stats/prometheus")
}

// Scrape is what a Prometheus server would get.
func (e *Envoy) Scrape() promtext.Samples {
	e.t.Helper()
	samples, err := promtext.Parse(strings.NewReader(e.Prometheus()))
	if err != nil {
		e.t.Fatal(err)
	}
	return samples
}

// Samples are those of one metric that have the labels: name, value, name, value, ...
func (e *Envoy) Samples(name string, labels ...string) promtext.Samples {
	e.t.Helper()
	return e.Scrape().Of(name, labels...)
}

// Sum adds up the samples of one metric that have the labels.
func (e *Envoy) Sum(name string, labels ...string) float64 {
	e.t.Helper()
	return e.Samples(name, labels...).Sum()
}

// Record is one line of the access log: the keys of standalone.yaml; what was absent is missing, also where it is null: before 1.40 Envoy writes that,
// whatever omit_empty_values says.
type Record map[string]any

// Text is a field as text; "" when it is missing. A number is as JSON has it.
func (r Record) Text(key string) string {
	switch value := r[key].(type) {
	case string:
		return value
	case float64:
		return strconv.FormatFloat(value, 'f', -1, 64)
	}
	return ""
}

// Want checks fields of the record, as text.
func (r Record) Want(t testing.TB, fields map[string]string) {
	t.Helper()
	for key, value := range fields {
		if got := r.Text(key); got != value {
			t.Errorf("the access log's %s is %q, want %q; the record: %v", key, got, value, r)
		}
	}
}

// AccessLog waits until n requests are logged and returns all that are, oldest first. Envoy logs a request when it ends.
func (e *Envoy) AccessLog(n int) []Record {
	e.t.Helper()
	var records []Record
	Await(e.t, Patience, strconv.Itoa(n)+" requests are in the access log", func() bool {
		records = e.records()
		return len(records) >= n
	})
	return records
}

// AccessLogFile is the path of the access log.
func (e *Envoy) AccessLogFile() string { return e.path("access.log") }

func (e *Envoy) records() []Record {
	e.t.Helper()
	var records []Record
	for line := range strings.Lines(e.file("access.log")) {
		if !strings.HasSuffix(line, "\n") {
			break // Envoy is still writing it
		}
		var record Record
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			e.t.Fatalf("the access log has a line that is not JSON: %v: %q", err, line)
		}
		maps.DeleteFunc(record, func(_ string, value any) bool { return value == nil })
		records = append(records, record)
	}
	return records
}

// Logs is all that Envoy has logged so far, the filter's own lines included.
func (e *Envoy) Logs() string {
	e.t.Helper()
	return e.file("envoy.log")
}

// MemoryRSS is the memory that Envoy has resident, in bytes.
func (e *Envoy) MemoryRSS() uint64 {
	e.t.Helper()
	pages, err := strconv.ParseUint(e.proc("statm")[1], 10, 64)
	if err != nil {
		e.t.Fatalf("read Envoy's memory: %v", err)
	}
	return pages * uint64(os.Getpagesize())
}

// LargestVM is the memory of the VM that has most, in bytes. V8 reserves 8 GiB for each, so that no access needs a check,
// and what of it the module has not asked for is inaccessible. No other part of Envoy's memory is so large, and none of a
// VM's is ever given back.
func (e *Envoy) LargestVM() (largest uint64) {
	e.t.Helper()
	const reserved, addressable = 8 << 30, 4 << 30
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", e.PID()))
	if err != nil {
		e.t.Fatalf("look at Envoy's process: %v", err)
	}
	for line := range strings.Lines(string(maps)) {
		var from, to uint64
		var rights string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &rights); err != nil {
			e.t.Fatalf("read Envoy's map of memory: %v: %q", err, line)
		}
		if rest := to - from; rights == "---p" && rest >= reserved-addressable && rest < reserved {
			largest = max(largest, reserved-rest)
		}
	}
	if largest == 0 {
		e.t.Fatal("Envoy's map of memory has no VM")
	}
	return largest
}

// CPU is the CPU time that Envoy has used, user and system; its resolution is 10 ms.
func (e *Envoy) CPU() time.Duration {
	e.t.Helper()
	const tick = 10 * time.Millisecond // the kernel's USER_HZ, 100 on every architecture that Envoy runs on
	fields := e.proc("stat")           // numbered as proc(5) has them, less one; the name, field 1, is "(envoy)", without a space
	user, userErr := strconv.ParseInt(fields[13], 10, 64)
	system, systemErr := strconv.ParseInt(fields[14], 10, 64)
	if userErr != nil || systemErr != nil {
		e.t.Fatalf("read Envoy's CPU time: %v", fields)
	}
	return time.Duration(user+system) * tick
}

func (e *Envoy) proc(file string) []string {
	e.t.Helper()
	text, err := os.ReadFile("/proc/" + strconv.Itoa(e.PID()) + "/" + file)
	if err != nil {
		e.t.Fatalf("look at Envoy's process: %v", err)
	}
	return strings.Fields(string(text))
}

func (e *Envoy) file(name string) string {
	e.t.Helper()
	text, err := os.ReadFile(e.path(name))
	if err != nil {
		e.t.Fatal(err)
	}
	return string(text)
}

// noise is what Envoy logs of each configuration and each worker, again and again: it says nothing of a failure.
var noise = regexp.MustCompile(`(?m)^.*(?:: configured, namespace |Thread-Local Wasm created|remaining active).*(?:\n|\z)`)

// tail gives the last lines of a log, without its noise.
func tail(text string, lines int) string {
	text = noise.ReplaceAllString(text, "")
	end := len(text)
	for range lines + 1 {
		at := strings.LastIndexByte(text[:end], '\n')
		if at < 0 {
			return text
		}
		end = at
	}
	return text[end+1:]
}
