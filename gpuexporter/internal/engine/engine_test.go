package engine

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/gpuexporter/internal/fetch"
)

func TestSampleOverHTTP(t *testing.T) {
	answer := func(contentType, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			fmt.Fprint(w, body)
		}
	}
	const good = "vllm:num_requests_waiting 3\n"
	for _, test := range []struct {
		name    string
		handler http.HandlerFunc
		err     string // a part of it; "" if there is none
	}{
		{"text", answer("text/plain; version=0.0.4", good), ""},
		{"newer text", answer("text/plain; version=1.0.0; charset=utf-8; escaping=underscores", good), ""},
		{"no type", answer("", good), ""},
		{"wrong type", answer("application/octet-stream", good), ""},
		{"broken type", answer("%%%", good), ""},
		{"JSON", answer("application/json", `[{"numActiveRequests": 1}]`), "/prometheus/metrics"},
		{"HTML", answer("text/html", "<html>"), "is the path right?"},
		{"status", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }, "status 401"},
		{"redirect", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/there", http.StatusFound) }, "status 302"},
		{"endless", func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := fmt.Fprint(w, strings.Repeat("x 1\n", 1024)); err != nil {
					return
				}
			}
		}, "more than 8388608 bytes"},
		{"cut off", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			fmt.Fprint(w, good)
		}, "unexpected EOF"},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := httptest.NewServer(test.handler)
			defer server.Close()
			sample, err := sourceFor(t, server.URL+"/metrics").Sample(t.Context())
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("error %v, want one with %q", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := asJSON(t, sample.Instances[0].Instance); got != `{"name":"node/vllm","waiting":3,"ageSeconds":0}` {
				t.Errorf("got %s", got)
			}
		})
	}
}

func TestSampleEndsAtItsDeadline(t *testing.T) {
	released := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-released }))
	defer server.Close()
	defer close(released)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := sourceFor(t, server.URL).Sample(ctx); err == nil {
		t.Error("no error")
	}
}

// A URL may hold a password, and errors are logged.
func TestErrorsDontShowTheURL(t *testing.T) {
	_, err := sourceFor(t, "http://user:secret@127.0.0.1:1/metrics").Sample(t.Context())
	if err == nil || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "user") {
		t.Errorf("error %v", err)
	}
}

func TestServersBehindOneAddressHaveNamesOfTheirOwn(t *testing.T) {
	text := readFile(t, "dynamo-frontend.txt")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) }))
	defer server.Close()
	sample, err := sourceFor(t, server.URL).Sample(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(sample.Instances) != 2 || sample.Instances[1].Name != "node/vllm/202" {
		t.Errorf("got %s", asJSON(t, sample.Instances))
	}
}

func sourceFor(t *testing.T, address string) *Source {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return New("node/vllm", u, fetch.NewClient())
}
