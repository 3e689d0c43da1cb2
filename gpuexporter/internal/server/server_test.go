package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spillway-proxy/spillway/gpuexporter/internal/fleet"
	"github.com/spillway-proxy/spillway/gpuexporter/internal/peer"
	"github.com/spillway-proxy/spillway/gpuexporter/internal/pressure"
	"github.com/spillway-proxy/spillway/gpuexporter/internal/source"
)

type stub func(ctx context.Context) (source.Sample, error)

func (s stub) Sample(ctx context.Context) (source.Sample, error) {
	return s(ctx)
}

func view(states []*source.State, now time.Time) fleet.View {
	return fleet.Compose(states, fleet.Options{Node: "n", MaxInstances: 10, DropAfter: time.Minute}, now)
}

func handlerFor(b *source.Board) *Handler {
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "metrics") })
	return New(Options{Board: b, View: view, Metrics: metrics, Now: time.Now, ID: "me"})
}

// one is a sample of one instance.
func one() source.Sample {
	share := 0.42
	return source.Sample{Instances: []source.Instance{{Instance: pressure.Instance{Name: "n/vllm", ActiveDecodeBlocks: &share}}}}
}

func get(h http.Handler, path string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// bubble runs a board with one source in a time that the test moves.
func bubble(t *testing.T, s stub, test func(h *Handler)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		b := source.NewBoard(time.Now, slog.New(slog.DiscardHandler))
		b.Add("one", source.Engine, s, source.Timing{Interval: time.Second, Deadline: 2 * time.Second})
		h := handlerFor(b)
		if w := get(h, "/readyz"); w.Code != 503 || w.Body.String() != "engine \"one\": last good sample never\n" {
			t.Errorf("before the first sample: %d %s", w.Code, w.Body)
		}
		b.Start(ctx)
		synctest.Wait()
		test(h)
		cancel()
		b.Wait()
	})
}

func TestPressure(t *testing.T) {
	bubble(t, func(context.Context) (source.Sample, error) { return one(), nil }, func(h *Handler) {
		time.Sleep(400 * time.Millisecond)
		w := get(h, "/v1/pressure")
		want := `{"version":1,"time":"2000-01-01T00:00:00.4Z","instances":[{"name":"n/vllm","activeDecodeBlocks":0.42,"ageSeconds":0.4}]}` + "\n"
		if w.Code != 200 || w.Body.String() != want {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		for name, value := range map[string]string{
			"Content-Type": "application/json", "Etag": `W/"me-1-0"`, "Cache-Control": "no-cache", "Content-Length": fmt.Sprint(len(want)), peer.IDHeader: "me",
		} {
			if got := w.Header().Get(name); got != value {
				t.Errorf("%s: %q, want %q", name, got, value)
			}
		}
	})
}

func TestETagsStandForMeasurements(t *testing.T) {
	bubble(t, func(context.Context) (source.Sample, error) { return one(), nil }, func(h *Handler) {
		etag := get(h, "/v1/pressure").Header().Get("ETag")
		time.Sleep(900 * time.Millisecond)
		for _, header := range []string{etag, strings.TrimPrefix(etag, "W/"), `"other", ` + etag, "*"} {
			w := get(h, "/v1/pressure", "If-None-Match", header)
			if w.Code != 304 || w.Body.Len() != 0 || w.Header().Get("ETag") != etag {
				t.Errorf("%s: %d %s", header, w.Code, w.Body)
			}
		}
		if w := get(h, "/v1/pressure", "If-None-Match", `"other"`); w.Code != 200 {
			t.Errorf("another ETag: %d", w.Code)
		}
		// The same numbers, measured anew, are news.
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		if w := get(h, "/v1/pressure", "If-None-Match", etag); w.Code != 200 || !strings.Contains(w.Body.String(), `"ageSeconds":0.1`) {
			t.Errorf("after a new measurement: %d %s", w.Code, w.Body)
		}
	})
}

// A document is written once for those who ask at the same time, and never given out when there is a newer measurement.
func TestADocumentIsReusedUntilSomethingWasMeasured(t *testing.T) {
	measured := 0
	bubble(t, func(context.Context) (source.Sample, error) {
		measured++
		s := one()
		s.Instances[0].Running = pressure.Count(float64(measured))
		return s, nil
	}, func(h *Handler) {
		time.Sleep(999 * time.Millisecond)
		first := get(h, "/v1/pressure").Body.String()
		h.writing.Lock()
		written := h.written.at
		h.writing.Unlock()
		time.Sleep(time.Millisecond / 2)
		if again := get(h, "/v1/pressure").Body.String(); again != first || !strings.Contains(first, `"running":1,`) {
			t.Errorf("%s and half a millisecond later %s", first, again)
		}
		if h.written.at != written {
			t.Error("it was written twice")
		}
		time.Sleep(time.Millisecond) // the next measurement
		synctest.Wait()
		if next := get(h, "/v1/pressure").Body.String(); !strings.Contains(next, `"running":2,`) {
			t.Errorf("after a measurement: %s", next)
		}
		time.Sleep(reuse)
		if later := get(h, "/v1/pressure").Body.String(); strings.Contains(later, `"ageSeconds":0}`) {
			t.Errorf("after the time of reuse: %s", later)
		}
	})
}

func TestAgesGrowAndInstancesGoWhenASourceHangs(t *testing.T) {
	var release chan struct{}
	bubble(t, func(context.Context) (source.Sample, error) {
		if release == nil {
			release = make(chan struct{})
			return one(), nil
		}
		<-release
		return one(), nil
	}, func(h *Handler) {
		w := get(h, "/v1/pressure")
		etag := w.Header().Get("ETag")
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if w = get(h, "/v1/pressure"); !strings.Contains(w.Body.String(), `"ageSeconds":30}`) {
			t.Errorf("after 30 s: %s", w.Body)
		}
		if w = get(h, "/readyz"); w.Code != 200 || w.Body.String() != "engine \"one\": last good sample 30s ago, now failing\n" {
			t.Errorf("after 30 s: %d %s", w.Code, w.Body)
		}
		if w = get(h, "/healthz"); w.Code != 200 {
			t.Errorf("not healthy: %d", w.Code)
		}
		time.Sleep(31 * time.Second)
		if w = get(h, "/v1/pressure", "If-None-Match", etag); w.Code != 200 || !strings.Contains(w.Body.String(), `"instances":[]`) {
			t.Errorf("after a minute: %d %s", w.Code, w.Body)
		}
		close(release)
	})
}

func TestOtherEndpoints(t *testing.T) {
	bubble(t, func(context.Context) (source.Sample, error) { return one(), nil }, func(h *Handler) {
		for path, want := range map[string]int{"/": 200, "/healthz": 200, "/readyz": 200, "/metrics": 200, "/v1/pressure": 200, "/v2/pressure": 404, "/x": 404} {
			if w := get(h, path); w.Code != want {
				t.Errorf("%s: %d, want %d", path, w.Code, want)
			}
		}
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete} {
			w := httptest.NewRecorder()
			if h.ServeHTTP(w, httptest.NewRequest(method, "/v1/pressure", nil)); w.Code != 405 {
				t.Errorf("%s: %d", method, w.Code)
			}
		}
		h.Stop()
		if w := get(h, "/readyz"); w.Code != 503 {
			t.Errorf("ready while it stops: %d", w.Code)
		}
	})
}

// No handler may wait for a source: here every source has hung since before its first sample.
func TestNoHandlerWaitsForASource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		b := source.NewBoard(time.Now, slog.New(slog.DiscardHandler))
		b.Add("nvml", source.NVML, stub(func(context.Context) (source.Sample, error) { <-release; return source.Sample{}, nil }),
			source.Timing{Interval: time.Second, Deadline: time.Second})
		h := handlerFor(b)
		b.Start(ctx)
		before := time.Now()
		for _, path := range []string{"/", "/healthz", "/readyz", "/metrics", "/v1/pressure"} {
			get(h, path)
		}
		if waited := time.Since(before); waited != 0 { // the bubble's time moves only if all wait
			t.Errorf("waited %v", waited)
		}
		cancel()
		b.Wait()
		close(release)
	})
}

func TestSlowClientsAreCutOff(t *testing.T) {
	s := Listen(http.NotFoundHandler(), slog.New(slog.DiscardHandler))
	if s.ReadHeaderTimeout <= 0 || s.ReadTimeout <= 0 || s.WriteTimeout <= 0 || s.IdleTimeout <= 0 || s.MaxHeaderBytes <= 0 {
		t.Errorf("a bound is missing: %+v", s)
	}
	s.ReadHeaderTimeout = 50 * time.Millisecond
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.Serve(listener) }()
	defer func() { _ = s.Close() }()
	c, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Minute))
	if _, err := io.ReadAll(c); errors.Is(err, os.ErrDeadlineExceeded) { // a reset is the end, too, of a connection that was written to when it had been closed
		t.Errorf("it wasn't cut off: %v", err)
	}
}

func TestMetricsAreWrittenOncePerMomentAndForm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		written := 0
		h := newReused(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			written++
			w.Header().Set("Content-Type", r.Header.Get("Accept"))
			if r.Header.Get("Accept") == "broken" {
				w.WriteHeader(500)
			}
			fmt.Fprint(w, written)
		}), time.Now)
		for _, test := range []struct {
			accept, body string
			wait         time.Duration
			status       int
		}{
			{"a", "1", 0, 200},
			{"a", "1", 99 * time.Millisecond, 200},
			{"b", "2", 0, 200},
			{"a", "3", time.Millisecond, 200},
			{"broken", "4", 0, 500},
			{"broken", "5", 0, 500},
			{"a", "3", 0, 200},
		} {
			time.Sleep(test.wait)
			w := get(h, "/metrics", "Accept", test.accept)
			if w.Code != test.status || w.Body.String() != test.body || w.Header().Get("Content-Type") != test.accept || w.Header().Get("Content-Length") != "1" {
				t.Errorf("%+v: %d %s %v", test, w.Code, w.Body, w.Header())
			}
		}
		for i := range 100 {
			get(h, "/metrics", "Accept", fmt.Sprint(i))
		}
		if len(h.kept) > maxKept {
			t.Errorf("%d answers are kept", len(h.kept))
		}
	})
}
