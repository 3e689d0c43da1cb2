package admit

import (
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

// A body at an operation's path is governed, whatever the method is called; what has none, or opens another protocol, is not read.
func TestABodyIsGovernedWhateverItsMethod(t *testing.T) {
	for _, test := range []struct {
		name    string
		headers [][2]string
		end     bool
		want    bool
	}{
		{"POST", method("POST"), false, true},
		{"POST in small letters", method("post"), false, true},
		{"PUT", method("PUT"), false, true},
		{"a method of one's own", method("GENERATE"), false, true},
		{"a GET with a body", method("GET"), false, true},
		{"an OPTIONS with a body that calls itself a preflight", method("OPTIONS", "origin", "x", "access-control-request-method", "POST"), false, true},
		{"a GET with a body that calls itself a POST", method("GET", "x-http-method-override", "POST"), false, true},
		{"a GET with a body and a claim to upgrade", method("GET", "upgrade", "websocket"), false, true},
		{"a POST that upgrades", method("POST", "upgrade", "websocket", "connection", "Upgrade"), false, true},
		{"a GET", method("GET"), true, false},
		{"a preflight", method("OPTIONS", "origin", "x", "access-control-request-method", "POST"), true, false},
		{"a websocket", method("GET", "upgrade", "websocket", "connection", "keep-alive, Upgrade"), false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newSeed(t, "stopIteration")
			x := h.startWith(test.headers, test.end)
			if got := x.exchange.Dialect != nil; got != test.want {
				t.Errorf("governed: %v", got)
			}
			if got := x.last.Action == Hold; got != (test.want && !h.upgrades(&x.Stream)) { // or there would be no other protocol
				t.Errorf("held: %v", got)
			}
		})
	}
}

func method(name string, pairs ...string) [][2]string {
	headers := [][2]string{{":method", name}, {":path", "/v1/chat/completions"}, {"x-user-id", "ann"}}
	for i := 0; i < len(pairs); i += 2 {
		headers = append(headers, [2]string{pairs[i], pairs[i+1]})
	}
	return headers
}

// A browser's preflight passes, whoever asks and however often; what only looks like one doesn't.
func TestAPreflightIsNotLimited(t *testing.T) {
	const configuration = `{"identity":{"missing":"reject"},"limits":[{"name":"r","per":["user"],"unit":"requests","quantity":1,"window":"1h"}],
		"upstreams":[{"name":"v","concurrency":{"max":1}}]}`
	for _, test := range []struct {
		name    string
		headers [][2]string
		end     bool
		want    bool
	}{
		{"a preflight", bare("OPTIONS", "origin", "https://x", "access-control-request-method", "POST"), true, true},
		{"one with a name", method("OPTIONS", "origin", "https://x", "access-control-request-method", "POST"), true, true},
		{"one whose name is sent twice", bare("OPTIONS", "origin", "x", "access-control-request-method", "POST", "x-user-id", "a", "x-user-id", "b"), true, true},
		{"an OPTIONS", bare("OPTIONS"), true, false},
		{"an OPTIONS of a page", bare("OPTIONS", "origin", "https://x"), true, false},
		{"an OPTIONS from nowhere", bare("OPTIONS", "access-control-request-method", "POST"), true, false},
		{"a preflight with a body", bare("OPTIONS", "origin", "x", "access-control-request-method", "POST"), false, false},
		{"a preflight that calls itself a POST", bare("OPTIONS", "origin", "x", "access-control-request-method", "POST", "x-http-method-override", "POST"), true, false},
		{"a POST with a preflight's headers", bare("POST", "origin", "x", "access-control-request-method", "POST"), true, false},
		{"a GET with a preflight's headers", bare("GET", "origin", "x", "access-control-request-method", "POST"), true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t, configuration, recordtest.NewMemory())
			passed := true
			for range 3 {
				x := h.startWith(test.headers, test.end)
				passed = passed && x.last.Action == Continue
				if x.last.Action == Continue {
					x.done()
				}
			}
			if passed != test.want {
				t.Errorf("three passed: %v", passed)
			}
		})
	}
}

// What monitors and clients ask before they have an identity is not refused for want of one, unless that is asked for. Its requests
// count all the same.
func TestProbesNeedNoIdentity(t *testing.T) {
	probe := func(configuration, path string, end bool, headers ...[2]string) EffectKind {
		h := newHost(t, configuration, recordtest.NewMemory())
		return h.startWith(append(headers, [2]string{":path", path}), end).last.Action
	}
	const (
		reject = `{"identity":{"missing":"reject"},"limits":[{"name":"r","per":["user"],"unit":"requests","quantity":10,"window":"1h"}]}`
		asked  = `{"identity":{"missing":"reject","probes":"reject"},"limits":[{"name":"r","per":["user"],"unit":"requests","quantity":10,"window":"1h"}]}`
	)
	get, head, post := [2]string{":method", "GET"}, [2]string{":method", "HEAD"}, [2]string{":method", "POST"}
	for _, path := range []string{
		"/health", "/healthz", "/ready", "/readyz", "/livez", "/live", "/v2/health/ready", "/v1/models", "/v1/models/llama-3.1", "/metrics", "/health/", "/ping?x",
	} {
		if got := probe(reject, path, true, get); got != Continue {
			t.Errorf("GET %s: %v", path, got)
		}
		if got := probe(reject, path, true, head); got != Continue {
			t.Errorf("HEAD %s: %v", path, got)
		}
		for name, got := range map[string]EffectKind{
			"unless asked for": probe(asked, path, true, get), "POST": probe(reject, path, true, post), "with a body": probe(reject, path, false, get),
			"overridden":   probe(reject, path, true, get, [2]string{"x-http-method-override", "POST"}),
			"of two users": probe(reject, path, true, get, [2]string{"x-user-id", "a"}, [2]string{"x-user-id", "b"}),
		} {
			if got != Answer {
				t.Errorf("%s, %s: %v", path, name, got)
			}
		}
	}
	for _, path := range []string{"/v1/chat/completions", "/v1/files", "/", "/healthy", "/v1/models-x"} {
		if got := probe(reject, path, true, get); got != Answer {
			t.Errorf("GET %s: %v", path, got)
		}
	}
	h := newHost(t, `{"identity":{"missing":"reject"},"limits":[{"name":"r","per":["user"],"unit":"requests","quantity":1,"window":"1h"}]}`, recordtest.NewMemory())
	for _, want := range []EffectKind{Continue, Answer} {
		if got := h.startWith([][2]string{get, {":path", "/health"}}, true).last.Action; got != want {
			t.Errorf("within the limit of requests: %v, want %v", got, want)
		}
	}
}

// bare is method without a user.
func bare(name string, pairs ...string) [][2]string {
	headers := method(name, pairs...)
	return append(headers[:2:2], headers[3:]...)
}
