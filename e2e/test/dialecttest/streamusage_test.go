package dialecttest

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

const (
	openingEvent = `data: {"id":"1","model":"told","choices":[{"index":0,"delta":{"role":"assistant","content":""}}],"usage":null}` + "\n\n"
	spokenEvent  = `data: {"id":"1","model":"told","choices":[{"index":0,"delta":{"content":"hi"}}],"usage":null}` + "\n\n"
	usageEvent   = `data: {"id":"1","model":"told","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":40,"total_tokens":49}}` + "\n\n"
	endEvent     = "data: [DONE]\n\n"
	keepAlive    = ": keep-alive\n\n"

	plainStream = `{"model":"told","stream":true,"messages":[]}`
	askedStream = `{"stream_options":{"include_usage":true},"model":"told","stream":true,"messages":[]}`
)

// A server that answers with what the header says, in pieces, and tells what it got.
type told struct {
	mu    sync.Mutex
	got   map[string]*http.Request // by traceparent
	body  map[string]string
	gates map[string]chan struct{} // a piece more may be sent
}

func newTold() *told {
	return &told{got: map[string]*http.Request{}, body: map[string]string{}, gates: map[string]chan struct{}{}}
}

func (s *told) gate(trace string) chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gates[trace] == nil {
		s.gates[trace] = make(chan struct{})
	}
	return s.gates[trace]
}

func (s *told) request(trace string) (*http.Request, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got[trace], s.body[trace]
}

// forms are the ways to cut a stream's bytes.
var forms = map[string]func(string) []string{
	"whole":        func(stream string) []string { return []string{stream} },
	"by bytes":     func(stream string) []string { return strings.Split(stream, "") },
	"by events":    func(stream string) []string { return strings.SplitAfter(stream, "\n\n") },
	"by halves":    halves,
	"step by step": func(stream string) []string { return strings.SplitAfter(stream, "\n\n") },
}

// halves cuts each event in its middle.
func halves(stream string) (pieces []string) {
	rest := ""
	for _, event := range strings.SplitAfter(stream, "\n\n") {
		pieces = append(pieces, rest+event[:len(event)/2])
		rest = event[len(event)/2:]
	}
	return append(pieces, rest)
}

func (s *told) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	trace := r.Header.Get("traceparent")
	s.mu.Lock()
	s.got[trace], s.body[trace] = r, string(body)
	s.mu.Unlock()
	w.Header().Set("Content-Type", "text/event-stream")
	form := r.Header.Get(formHeader)
	stream := openingEvent + spokenEvent + keepAlive + usageEvent + endEvent
	if form == "whole" {
		w.Header().Set("Content-Length", fmt.Sprint(len(stream)))
	}
	control := http.NewResponseController(w)
	for _, piece := range forms[form](stream) {
		if form == "step by step" && piece != "" {
			select {
			case <-s.gate(trace):
			case <-r.Context().Done():
				return
			}
		}
		if _, err := io.WriteString(w, piece); err != nil || control.Flush() != nil {
			return
		}
	}
}

func TestStreamsAreAskedForTheirUsageAndTheClientDoesNotSeeIt(t *testing.T) {
	for hold, workers := range map[harness.Hold]int{harness.HoldStopIteration: 4, harness.HoldBufferFilter: 1, harness.HoldNone: 1} {
		t.Run(fmt.Sprintf("%s, %d workers", hold, workers), func(t *testing.T) {
			t.Parallel()
			s := newTold()
			e := harness.Start(t, harness.Options{
				Config: `{"usage":{"maxRequestBytes":1000}}`, Upstream: harness.Serve(t, s), Concurrency: workers, Hold: hold,
			})
			askAndHide(t, s, e, hold)
			passEachEvent(t, s, e)
			leaveLargeBodiesAlone(t, s, e)
		})
	}
}

// streamFrom sends a request for a stream; the client takes gzip, as most do.
func streamFrom(t *testing.T, e *harness.Envoy, trace, form, body string) *http.Response {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, e.URL+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept-Encoding", "gzip, br")
	request.Header.Set("traceparent", trace)
	request.Header.Set(formHeader, form)
	response, err := e.Client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	return response
}

func askAndHide(t *testing.T, s *told, e *harness.Envoy, hold harness.Hold) {
	const want = openingEvent + spokenEvent + keepAlive + endEvent
	for form := range forms {
		if form == "step by step" {
			continue
		}
		response := streamFrom(t, e, form, form, plainStream)
		body, err := io.ReadAll(response.Body)
		if err != nil || string(body) != want {
			t.Errorf("%s: the client got %q, %v, want %q", form, body, err, want)
		}
		request, got := s.request(form)
		if got != askedStream {
			t.Errorf("%s: the server got %s, want %s", form, got, askedStream)
		}
		if coding := request.Header.Get("Accept-Encoding"); coding != "identity" {
			t.Errorf("%s: the server may answer in %q", form, coding)
		}
		length := int64(len(askedStream))
		if hold == harness.HoldNone {
			length = -1 // the headers went on before it was known
		}
		if request.ContentLength != length {
			t.Errorf("%s: the server was announced %d bytes, want %d", form, request.ContentLength, length)
		}
	}
	for _, record := range e.AccessLog(len(forms) - 1) {
		if record.Text("usage_source") != "reported" || record.Text("completion_tokens") != "40" {
			t.Errorf("%s: %v", record.Text("traceparent"), record)
		}
	}
}

// passEachEvent lets the server go on only when the client has what came before.
func passEachEvent(t *testing.T, s *told, e *harness.Envoy) {
	const trace = "steps"
	gate := s.gate(trace)
	answered := make(chan *http.Response)
	go func() { answered <- streamFrom(t, e, trace, "step by step", plainStream) }()
	gate <- struct{}{}
	response := <-answered
	reader := bufio.NewReader(response.Body)
	for i, want := range []string{openingEvent, spokenEvent, keepAlive, endEvent} {
		if i > 0 {
			gate <- struct{}{}
		}
		if want == endEvent {
			gate <- struct{}{} // behind the usage, which does not come
		}
		got := make([]byte, len(want))
		if _, err := io.ReadFull(reader, got); err != nil || string(got) != want {
			t.Fatalf("the client got %q, %v, want %q", got, err, want)
		}
	}
	if rest, err := io.ReadAll(reader); err != nil || len(rest) > 0 {
		t.Errorf("the stream ends with %q, %v", rest, err)
	}
}

func leaveLargeBodiesAlone(t *testing.T, s *told, e *harness.Envoy) {
	large := strings.Replace(plainStream, "[]", `["`+strings.Repeat("x", 2000)+`"]`, 1)
	body, err := io.ReadAll(streamFrom(t, e, "large", "whole", large).Body)
	if err != nil || !bytes.Contains(body, []byte(usageEvent)) {
		t.Errorf("the client got %q, %v", body, err)
	}
	request, got := s.request("large")
	if got != large || request.ContentLength != int64(len(large)) {
		t.Errorf("the server got %d bytes and was announced %d, want %d", len(got), request.ContentLength, len(large))
	}
}
