package envoytest

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"testing"
)

const megabyte = 1 << 20

// zipBody asks a model of its own, so that nothing was learned of it, and estimates stay where they start.
const zipBody = `{"model":"zipped","stream":false,"messages":[{"role":"user","content":"hello"}]}`

func passUnread(t *testing.T, g *gateway) {
	reconfigure(t, g, `{"usage": {"maxRequestBytes": 1048576, "promptTokensPerByte": 0.25, "outputTokens": 256}, `+usageConfig[1:])
	stray := g.counter(t, "spillway_uncharged_total", "reason", "unknown_path")

	t.Run("a request of 5 MB with a content-length", func(t *testing.T) {
		passLarge(t, g, "sized", func(body string) io.Reader { return strings.NewReader(body) })
	})
	t.Run("a request of 5 MB in chunks", func(t *testing.T) {
		passLarge(t, g, "chunked", func(body string) io.Reader { return io.MultiReader(strings.NewReader(body)) })
	})
	t.Run("a response of 20 MB", func(t *testing.T) {
		body := `{"model":"embed","input":[` + strings.Repeat(`"x",`, 1799) + `"x"]}`
		want := g.do(t, newRequest(t, http.MethodPost, g.direct+embeddingsPath, nil, strings.NewReader(body)))
		if len(want.body) < 20*megabyte {
			t.Fatalf("the simulator's answer has %d bytes, want 20 MB", len(want.body))
		}
		a := g.post(t, embeddingsPath, body, user("vectors", "traceparent", "vectors", "x-sim-prompt-tokens", "1800"))
		wantStatus(t, a, http.StatusOK)
		got := bytes.Replace(a.body, []byte(`"prompt_tokens":1800,"total_tokens":1800`), nil, 1)
		at := bytes.LastIndex(want.body, []byte(`"prompt_tokens":`))
		wantSameBytes(t, got, append(want.body[:at:at], "}}"...))
		g.logged(t, "vectors").Want(t, map[string]string{
			"operation": "embeddings", "prompt_tokens": "1800", "completion_tokens": "0", "usage_source": "reported",
		})
	})
	t.Run("a compressed response, whose use is estimated", func(t *testing.T) { passCompressed(t, g) })
	t.Run("a compressed stream, whose use is estimated", func(t *testing.T) {
		body := strings.Replace(zipBody, "false", "true", 1)
		a := g.post(t, chatPath, body, user("zip-stream", "x-sim-gzip", "true", "accept-encoding", "gzip", "traceparent", "zip-stream"))
		wantStatus(t, a, http.StatusOK)
		if text := unzip(t, a.body); !bytes.Contains(text, []byte("data: [DONE]")) {
			t.Errorf("the stream ends with %q", text[max(0, len(text)-100):])
		}
		g.logged(t, "zip-stream").Want(t, map[string]string{"usage_source": "estimated", "completion_tokens": "256"})
	})
	t.Run("a request to an unknown path, which is not charged", func(t *testing.T) {
		wantStatus(t, g.post(t, "/v1/unknown", chatBody, user("stray", "traceparent", "stray")), http.StatusNotFound)
		if r := g.received("stray"); len(r) != 1 || r[0].Body != chatBody {
			t.Errorf("the server received %+v, want the request as it was", r)
		}
		if n := g.counter(t, "spillway_uncharged_total", "reason", "unknown_path") - stray; n != 1 {
			t.Errorf("spillway_uncharged_total{reason=unknown_path} grew by %v, want 1", n)
		}
		g.logged(t, "stray").Want(t, map[string]string{"decision": "ALLOWED", "operation": "other", "usage_source": ""})
	})
	t.Run("the list of models", func(t *testing.T) {
		a := g.do(t, newRequest(t, http.MethodGet, g.URL+"/v1/models", user("lister"), nil))
		wantStatus(t, a, http.StatusOK)
		if n := g.counter(t, "spillway_uncharged_total", "reason", "unknown_path") - stray; n != 1 {
			t.Errorf("spillway_uncharged_total{reason=unknown_path} grew by %v, want 1 still", n)
		}
	})
	t.Run("a request that is not JSON", func(t *testing.T) {
		const body = `model=mock-llm&text="{[`
		wantStatus(t, g.post(t, chatPath, body, user("plain")), http.StatusBadRequest)
		if r := g.received("plain"); len(r) != 1 || r[0].Body != body {
			t.Errorf("the server received %+v, want the request as it was", r)
		}
	})
	t.Run("a request without a body", func(t *testing.T) {
		wantStatus(t, g.post(t, chatPath, "", user("empty")), http.StatusBadRequest)
		if r := g.received("empty"); len(r) != 1 || r[0].BodyBytes != 0 {
			t.Errorf("the server received %+v, want the request as it was", r)
		}
	})
}

// passLarge sends a request that is larger than the filter reads. The answer reports no usage, so estimates are charged:
// a quarter of a token for each byte of the request, and what an output starts with.
func passLarge(t *testing.T, g *gateway, name string, reader func(string) io.Reader) {
	const size = 5 * megabyte
	body := `{"model":"` + name + `","messages":[{"role":"user","content":"`
	body += strings.Repeat("a", size-len(body)-4) + `"}]}`
	h := user(name, "x-sim-usage", "never", "traceparent", name)
	wantStatus(t, g.do(t, newRequest(t, http.MethodPost, g.URL+chatPath, h, reader(body))), http.StatusOK)

	received := g.received(name)
	if len(received) != 1 || received[0].BodyBytes != size {
		t.Fatalf("the server received %d requests, want one of %d bytes", len(received), size)
	}
	wantSameBytes(t, []byte(received[0].Body), []byte(body))
	g.logged(t, name).Want(t, map[string]string{
		"decision": "ALLOWED", "request_model": name, "response_model": name, // it stands in the first bytes
		"prompt_tokens": "1310720", "completion_tokens": "256", "usage_source": "estimated",
	})
	if left := g.remaining(t, name); left != 10000-256 {
		t.Errorf("%d tokens are left, want %d", left, 10000-256)
	}
}

// passCompressed uses an embedding, whose bytes are always the same, and a chat, whose use is estimated.
func passCompressed(t *testing.T, g *gateway) {
	h := user("zip", "x-sim-gzip", "true", "accept-encoding", "gzip")
	want := g.do(t, newRequest(t, http.MethodPost, g.direct+embeddingsPath, h, strings.NewReader(probeBody)))
	a := g.post(t, embeddingsPath, probeBody, h)
	wantStatus(t, a, http.StatusOK)
	wantHeaders(t, a, map[string]string{"content-encoding": "gzip"})
	wantSameBytes(t, a.body, want.body)

	a = g.post(t, chatPath, zipBody, append(h, "traceparent", "zip"))
	wantStatus(t, a, http.StatusOK)
	if text := unzip(t, a.body); !bytes.Contains(text, []byte(`"completion_tokens":76`)) {
		t.Errorf("the answer is %.300s", text)
	}
	g.logged(t, "zip").Want(t, map[string]string{"usage_source": "estimated", "completion_tokens": "256"})
	if left := g.remaining(t, "zip"); left != 10000-256 {
		t.Errorf("%d tokens are left, want %d", left, 10000-256)
	}
}

func unzip(t *testing.T, body []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
