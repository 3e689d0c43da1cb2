package llmsim

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

const (
	chatPath   = "/v1/chat/completions"
	chatJSON   = `{"model":"m","messages":[{"role":"user","content":"hi"}]}`
	chatStream = `{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}`
	withUsage  = `{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[]}`
)

// start serves a simulator on a free port until the test ends.
func start(t testing.TB, o Options) (*Server, string) {
	t.Helper()
	s := New(o)
	addr, err := s.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, "http://" + addr
}

// newPost makes a request; headers are pairs of name (without x-sim-) and value.
func newPost(ctx context.Context, url, body string, headers ...string) *http.Request {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set("X-Sim-"+headers[i], headers[i+1])
	}
	return r
}

// answer is a response and its body.
type answer struct {
	*http.Response
	body string
	err  error // of reading the body
}

// send posts over the network.
func send(t testing.TB, url, body string, headers ...string) answer {
	t.Helper()
	res, err := http.DefaultClient.Do(newPost(t.Context(), url, body, headers...))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	return answer{res, string(b), err}
}

// direct posts without a network.
func direct(s *Server, path, body string, headers ...string) answer {
	w := httptest.NewRecorder()
	s.ServeHTTP(w, newPost(context.Background(), path, body, headers...))
	return answer{w.Result(), w.Body.String(), nil}
}

// writes records each write of an answer, and what was flushed when.
type writes struct {
	*httptest.ResponseRecorder
	parts   []string
	flushed int
}

func (w *writes) Write(p []byte) (int, error) {
	w.parts = append(w.parts, string(p))
	return w.ResponseRecorder.Write(p)
}

func (w *writes) Flush() {
	w.flushed = len(w.parts)
	w.ResponseRecorder.Flush()
}

// directWrites is direct with the cuts between the writes kept.
func directWrites(s *Server, body string, headers ...string) *writes {
	w := &writes{ResponseRecorder: httptest.NewRecorder()}
	s.ServeHTTP(w, newPost(context.Background(), chatPath, body, headers...))
	return w
}

// await waits for a condition on the server's stats.
func await(t testing.TB, s *Server, cond func(Stats) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if err := s.Await(ctx, cond); err != nil {
		t.Fatalf("condition not met: %v; stats %+v", err, s.Stats())
	}
}

// events splits a stream with LF line endings into its data.
func events(stream string) []string {
	var out []string
	for line := range strings.SplitSeq(stream, "\n") {
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			out = append(out, data)
		}
	}
	return out
}

func contains(t testing.TB, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("missing %s in:\n%s", want, text)
		}
	}
}

func excludes(t testing.TB, text string, unwanted ...string) {
	t.Helper()
	for _, u := range unwanted {
		if strings.Contains(text, u) {
			t.Errorf("unexpected %s in:\n%s", u, text)
		}
	}
}

// gated is a request body that waits before its end.
type gated struct {
	first io.Reader
	gate  <-chan struct{}
	err   error
}

func (g *gated) Read(p []byte) (int, error) {
	if n, err := g.first.Read(p); err == nil {
		return n, nil
	}
	<-g.gate
	return 0, g.err
}

func body(text string, gate <-chan struct{}, err error) *gated {
	return &gated{bytes.NewBufferString(text), gate, err}
}
