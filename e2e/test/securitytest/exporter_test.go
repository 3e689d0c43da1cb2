package securitytest

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

// forger is an exporter that answers as it is told.
type forger struct {
	answer    atomic.Pointer[http.HandlerFunc]
	asked     atomic.Int64
	elsewhere atomic.Int64 // requests for another path than the configured one
}

func (f *forger) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.asked.Add(1)
	if r.URL.Path != "/v1/pressure" {
		f.elsewhere.Add(1)
	}
	(*f.answer.Load())(w, r)
}

func (f *forger) say(answer http.HandlerFunc) { f.answer.Store(&answer) }

// document is an answer with instances that are full or empty.
func document(share float64) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"version":1,"instances":[{"name":"a","activeDecodeBlocks":%g,"activePrefillTokens":0,"ageSeconds":0}]}`, share)
	}
}

// repeated is an answer that goes on for as long as somebody reads, between a beginning and no end.
func repeated(begin, piece string) http.HandlerFunc {
	piece = strings.Repeat(piece, 1<<16/len(piece))
	return func(w http.ResponseWriter, _ *http.Request) {
		_, err := io.WriteString(w, begin)
		for err == nil {
			_, err = io.WriteString(w, piece)
		}
	}
}

// An exporter may be wrong, broken, or somebody else: what it can bring about is that pressure isn't known, or is what it says.
// It never costs memory without bound, a line in the log that it wrote, or a request somewhere else; and once it says what can
// be, that counts.
func TestAnExporterThatForges(t *testing.T) {
	t.Parallel()
	f := &forger{}
	f.say(document(1))
	const config = `{"upstreams":[{"name":"llm","pressure":{"mode":"enforce"}}],"pressureSource":{"interval":"300ms","timeout":"300ms","staleAfter":"1s"}}`
	g := start(t, harness.Options{Config: config, Exporter: harness.Serve(t, f), Concurrency: 2}, completes(5))
	status := func() int { return g.send(t, "POST", chatPath, hello).status }
	awaitStatus := func(what string, want int) {
		t.Helper()
		harness.Await(t, patience, what, func() bool { return status() == want })
	}
	awaitStatus("it is believed while it says what can be", http.StatusServiceUnavailable)
	memory := g.MemoryRSS()

	const forged = `"\u001b[31mforged\r\nforged\u0000"`
	full := `{"version":1,"instances":[{"activeDecodeBlocks":1}`
	for _, test := range []struct {
		name, reason string // of the errors that are counted
		answer       http.HandlerFunc
	}{
		{"an answer without an end", "pressure_fetch", repeated(full, `,{"activeDecodeBlocks":1}`)},
		{"a string without an end", "pressure_fetch", repeated(full+`,{"name":"`, "forged")},
		{"white space without an end", "pressure_fetch", repeated("", " \n")},
		{"an answer that hangs in the middle", "pressure_fetch", func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, full)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}},
		{"a redirect", "pressure_fetch", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }},
		{"a redirect for good, with a document", "pressure_fetch", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(http.StatusPermanentRedirect)
			_, _ = io.WriteString(w, full+"]}")
		}},
		{"a million instances", "pressure_fetch", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, full+strings.Repeat(`,{}`, 1_000_000)+"]}")
		}},
		{"what can't be", "pressure_value", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"version":1,"time":"9999-01-01T00:00:00Z","instances":[{"activeDecodeBlocks":1e300,"activePrefillTokens":1e300,"ageSeconds":-1},`+
				`{"activeDecodeBlocks":-1,"activePrefillTokens":"10000000","gpus":[{"memoryUsedBytes":1e300,"memoryTotalBytes":1}]}]}`)
		}},
		{"not a number", "pressure_fetch", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, full+`,{"activeDecodeBlocks":NaN}]}`)
		}},
		{"names with control characters", "pressure_value", func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"version":1,"instances":[{"name":%s,"activeDecodeBlocks":%s,"gpus":[{"uuid":%s}]}]}`, forged, forged, forged)
		}},
		{"a status that nobody knows", "pressure_fetch", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(299)
			_, _ = io.WriteString(w, full+"]}")
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := g.Sum("spillway_errors_total", "reason", test.reason)
			f.say(test.answer)
			harness.Await(t, patience, "it is counted", func() bool { return g.Sum("spillway_errors_total", "reason", test.reason) > before+3 })
			awaitStatus("nothing is known, and requests pass", http.StatusOK)
			f.say(document(1))
			awaitStatus("it is believed again", http.StatusServiceUnavailable)
		})
	}
	if n := f.elsewhere.Load(); n > 0 {
		t.Errorf("%d requests went where a redirect said", n)
	}
	if strings.Contains(g.Logs(), "forged") {
		t.Error("what the exporter wrote is in the log")
	}
	if grown := g.MemoryRSS() - min(memory, g.MemoryRSS()); grown > 256<<20 {
		t.Errorf("Envoy grew by %d MiB", grown>>20)
	} else {
		t.Logf("Envoy grew by %d MiB", grown>>20)
	}
}
