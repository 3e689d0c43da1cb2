// Package server answers over HTTP from what the sources saw last. No handler waits for a source.
package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spillway-proxy/spillway/gpuexporter/internal/fleet"
	"github.com/spillway-proxy/spillway/gpuexporter/internal/peer"
	"github.com/spillway-proxy/spillway/gpuexporter/internal/source"
)

// reuse is for how long a written document is given out again. Its ages count back from its own time, so they stay true.
const reuse = 50 * time.Millisecond

// Options say what is served.
type Options struct {
	Board   *source.Board
	View    func(states []*source.State, now time.Time) fleet.View
	Metrics http.Handler
	Now     func() time.Time
	// ID tells this process from others: in the ETag, and for exporters that read themselves.
	ID string
}

// Handler serves the endpoints.
type Handler struct {
	Options
	mux      *http.ServeMux
	stopping atomic.Bool

	writing sync.Mutex // held while a document is written, never while a source measures
	written document
}

type document struct {
	body       []byte
	etag       string
	generation uint64
	at         time.Time
}

// New makes the handler.
func New(o Options) *Handler {
	h := &Handler{Options: o, mux: http.NewServeMux()}
	h.mux.Handle("GET /metrics", newReused(o.Metrics, o.Now))
	h.mux.HandleFunc("GET /v1/pressure", h.pressure)
	h.mux.HandleFunc("GET /healthz", health)
	h.mux.HandleFunc("GET /readyz", h.ready)
	h.mux.HandleFunc("GET /{$}", index)
	return h
}

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mux.ServeHTTP(w, r)
}

// Stop lets readiness fail, so that nobody is sent here any more.
func (h *Handler) Stop() {
	h.stopping.Store(true)
}

func index(w http.ResponseWriter, _ *http.Request) {
	text(w, http.StatusOK, "gpuexporter\n\n/metrics       for Prometheus\n/v1/pressure   for Spillway's filter and other exporters\n"+
		"/healthz       the process answers\n/readyz        a source has delivered\n")
}

// health says that the process answers. A hung driver doesn't make it fail: a restart doesn't mend a driver.
func health(w http.ResponseWriter, _ *http.Request) {
	text(w, http.StatusOK, "ok\n")
}

// ready says whether there is anything to tell, and lists the sources.
func (h *Handler) ready(w http.ResponseWriter, _ *http.Request) {
	var b strings.Builder
	status := http.StatusServiceUnavailable
	now := h.Now()
	for _, s := range h.Board.States() {
		age := "never"
		if s.Sample != nil {
			age = now.Sub(s.SampledAt).Round(time.Millisecond).String() + " ago"
			if s.Kind.Measures() {
				status = http.StatusOK
			}
		}
		fmt.Fprintf(&b, "%s %q: last good sample %s", s.Kind, s.Name, age)
		if s.Err != nil {
			fmt.Fprintf(&b, ", now failing")
		}
		b.WriteByte('\n')
	}
	if h.stopping.Load() {
		status = http.StatusServiceUnavailable
		b.WriteString("stopping\n")
	}
	text(w, status, b.String())
}

func text(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

func (h *Handler) pressure(w http.ResponseWriter, r *http.Request) {
	d, err := h.document()
	if err != nil {
		text(w, http.StatusInternalServerError, "the document can't be written\n")
		return
	}
	header := w.Header()
	header.Set("ETag", d.etag)
	header.Set("Cache-Control", "no-cache")
	header.Set(peer.IDHeader, h.ID)
	if matches(r.Header.Values("If-None-Match"), d.etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	header.Set("Content-Type", "application/json")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Length", strconv.Itoa(len(d.body)))
	_, _ = w.Write(d.body)
}

// document writes the document, or takes the one that was written a moment ago.
//
// The ETag is weak and stands for the measurements: between two answers with the same one, time has passed and nothing was
// measured. Whoever keeps a document counts its ages on; whoever reads equal numbers under another ETag knows them to be new.
func (h *Handler) document() (document, error) {
	h.writing.Lock()
	defer h.writing.Unlock()
	now := h.Now()
	// Before the states: should a sample arrive between the two, the ETag is the older one's, and the next answer says so.
	generation := h.Board.Generation()
	if age := now.Sub(h.written.at); h.written.body != nil && h.written.generation == generation && age >= 0 && age < reuse {
		return h.written, nil
	}
	view := h.View(h.Board.States(), now)
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(view.Document(now)); err != nil {
		return document{}, err
	}
	h.written = document{
		// Instances leave the document by age alone too, without a new sample.
		etag: fmt.Sprintf(`W/"%s-%d-%d"`, h.ID, generation, view.Expired),
		body: body.Bytes(), generation: generation, at: now,
	}
	return h.written, nil
}

// matches says whether an If-None-Match holds the ETag, by the weak comparison of RFC 9110.
func matches(headers []string, etag string) bool {
	for _, header := range headers {
		for candidate := range strings.SplitSeq(header, ",") {
			candidate = strings.TrimSpace(candidate)
			if candidate == "*" || strings.TrimPrefix(candidate, "W/") == strings.TrimPrefix(etag, "W/") {
				return true
			}
		}
	}
	return false
}

// Listen makes a server whose timeouts leave no room for clients that are slow on purpose.
func Listen(handler http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      10 * time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}
