// Package dialecttest replays what real servers and clients said to each other, in every dialect, through a real Envoy
// with the compiled filter.
package dialecttest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

// patience bounds everything that a test waits for.
const patience = harness.Patience

// The headers by which a test and its server understand each other.
const (
	idHeader   = "x-capture-id"
	formHeader = "x-capture-form"
	sumHeader  = "x-received-sum"
	pathHeader = "x-received-path"
)

// The forms in which bodies travel.
const (
	whole  = "whole"
	pieces = "pieces"
)

// byteByByte is the size up to which a body in pieces comes a byte at a time.
const byteByByte = 1000

// start runs an Envoy of two workers, with the filter, in front of a server.
func start(t *testing.T, config string, handler http.Handler) *harness.Envoy {
	t.Helper()
	return harness.Start(t, harness.Options{Config: config, Upstream: harness.Serve(t, handler), Concurrency: 2, Hold: harness.HoldStopIteration})
}

// exchange is a request and the answer that a server gave to it.
type exchange struct {
	id, method, path          string
	requestType, requestBody  string
	status                    int
	contentType, responseBody string
	broken                    bool // the answer broke off behind its body
}

// replayer answers each request with what was recorded for it.
type replayer map[string]*exchange

func (r replayer) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	x := r[request.Header.Get(idHeader)]
	body, err := io.ReadAll(request.Body)
	if x == nil || err != nil {
		http.Error(w, fmt.Sprint("no such exchange, or no request: ", err), http.StatusNotImplemented)
		return
	}
	w.Header()["Content-Type"] = nil // or the server guesses one
	if x.contentType != "" {
		w.Header().Set("Content-Type", x.contentType)
	}
	w.Header().Set(sumHeader, sum(body))
	w.Header().Set(pathHeader, request.RequestURI)
	if request.Header.Get(formHeader) == whole && !x.broken {
		w.Header().Set("Content-Length", fmt.Sprint(len(x.responseBody)))
	}
	w.WriteHeader(x.status)
	if request.Header.Get(formHeader) == whole {
		_, _ = io.WriteString(w, x.responseBody)
	} else {
		writePieces(w, x)
	}
	if x.broken {
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

func writePieces(w http.ResponseWriter, x *exchange) {
	control := http.NewResponseController(w)
	for piece := range cut(x.id, x.responseBody) {
		if _, err := io.WriteString(w, piece); err != nil || control.Flush() != nil {
			return
		}
	}
}

// cut gives a text in pieces: a byte each if it is short, else of random lengths, the same ones in every run.
func cut(seed, text string) func(yield func(string) bool) {
	hash := fnv.New64a()
	_, _ = io.WriteString(hash, seed)
	random := rand.New(rand.NewPCG(hash.Sum64(), 1))
	return func(yield func(string) bool) {
		most := max(len(text)/25, 1)
		if len(text) <= byteByByte {
			most = 1
		}
		for len(text) > 0 {
			n := min(1+random.IntN(most), len(text))
			if !yield(text[:n]) {
				return
			}
			text = text[n:]
		}
	}
}

func sum(body []byte) string {
	digest := sha256.Sum256(body)
	return hex.EncodeToString(digest[:])
}

// traceparent names one replay of an exchange in the access log.
func (x *exchange) traceparent(form string) string { return x.id + "/" + form }

func (x *exchange) request(ctx context.Context, base, form, user string) (*http.Request, error) {
	var body io.Reader = strings.NewReader(x.requestBody)
	if form == pieces {
		body = inPieces(x)
	}
	request, err := http.NewRequestWithContext(ctx, x.method, base+escaped(x.path), body)
	if err != nil {
		return nil, err
	}
	if x.requestBody == "" {
		request.Body, request.ContentLength = nil, 0
	}
	if x.requestType != "" {
		request.Header.Set("Content-Type", x.requestType)
	}
	for name, value := range map[string]string{
		idHeader: x.id, formHeader: form, "traceparent": x.traceparent(form), "x-user-id": user,
	} {
		request.Header.Set(name, value)
	}
	return request, nil
}

// inPieces reads a request's body a piece at a time, without telling its length.
func inPieces(x *exchange) io.Reader {
	var readers []io.Reader
	for piece := range cut(x.id, x.requestBody) {
		readers = append(readers, strings.NewReader(piece))
	}
	return io.MultiReader(readers...)
}

// escaped is a path as a client sends it: recorders have put <placeholders> into some.
func escaped(path string) string {
	return strings.NewReplacer("<", "%3C", ">", "%3E").Replace(path)
}

// merged is a path as the server sees it: standalone.yaml lets Envoy merge slashes.
func merged(path string) string {
	path, query, found := strings.Cut(escaped(path), "?")
	for strings.Contains(path, "//") {
		path = strings.ReplaceAll(path, "//", "/")
	}
	if found {
		path += "?" + query
	}
	return path
}

// oneConnection is a client whose requests share a connection, and so one of Envoy's workers, which learns by itself.
func oneConnection(t *testing.T) *http.Client {
	transport := &http.Transport{MaxConnsPerHost: 1}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// replay sends an exchange's request and compares what passed with the recording.
func (x *exchange) replay(
	ctx context.Context, client *http.Client, base, form, user string, check func(what string, got, want any),
) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	request, err := x.request(ctx, base, form, user)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if (err != nil) != x.broken {
		return fmt.Errorf("the answer ended with %v; broken off: %v", err, x.broken)
	}
	wantRequest, wantResponse := asked(x)
	check("status", response.StatusCode, x.status)
	check("content-type", response.Header.Get("Content-Type"), x.contentType)
	check("response body", difference(body, []byte(wantResponse)), "")
	check("request body", response.Header.Get(sumHeader), sum([]byte(wantRequest)))
	check("path", response.Header.Get(pathHeader), merged(x.path))
	return nil
}

// difference says where two bodies differ; "" when they don't.
func difference(got, want []byte) string {
	if bytes.Equal(got, want) {
		return ""
	}
	at := 0
	for at < min(len(got), len(want)) && got[at] == want[at] {
		at++
	}
	return fmt.Sprintf("%d bytes for %d, the first difference at %d: %q", len(got), len(want), at, got[at:min(at+60, len(got))])
}
