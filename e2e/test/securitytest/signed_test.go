package securitytest

import (
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

const streaming = `{"model":"llama","stream":true,"messages":[]}`

// events answers a stream of one token, as a server does that was asked for its usage or not.
func events(w http.ResponseWriter, asked bool) {
	w.Header().Set("content-type", "text/event-stream")
	_, _ = io.WriteString(w, `data: {"choices":[{"index":0,"delta":{"content":"hi"}}]}`+"\n\n")
	if asked {
		_, _ = io.WriteString(w, `data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}`+"\n\n")
	}
	_, _ = io.WriteString(w, "data: [DONE]\n\n")
}

// verifier is a server that checks what a request's content-digest says of its body.
func verifier(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	sum := sha256.Sum256(body)
	if digest := r.Header.Get("content-digest"); digest != "" && digest != "sha-256=:"+base64.StdEncoding.EncodeToString(sum[:])+":" {
		http.Error(w, `{"error":{"message":"the signature doesn't match"}}`, http.StatusForbidden)
		return
	}
	w.Header().Set("x-body", strconv.Quote(string(body)))
	w.Header().Set("x-length", r.Header.Get("content-length"))
	events(w, strings.Contains(string(body), "include_usage"))
}

// What its sender has signed reaches the server as it was.
func TestASignedStreamReachesItsServerUnchanged(t *testing.T) {
	g := start(t, harness.Options{}, http.HandlerFunc(verifier))
	sum := sha256.Sum256([]byte(streaming))
	for _, hold := range everyHold {
		configure(t, g.Envoy, hold, `{"mode":"enforce"}`)
		for _, header := range []string{
			"content-digest: sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":",
			"x-amz-content-sha256: e3b0", "content-md5: a", "digest: SHA-256=a", `signature-input: sig1=("content-digest")`,
			"authorization: AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=c",
			`authorization: Hawk id="a", ts="1", nonce="b", hash="c", mac="d"`, "x-content-sha512: a",
		} {
			got := g.send(t, "POST", chatPath, streaming, header)
			if got.status != 200 || got.headers.Get("x-body") != strconv.Quote(streaming) || got.headers.Get("x-length") != strconv.Itoa(len(streaming)) {
				t.Errorf("%s, %s: %d, the server got %s of %s", header, hold, got.status, got.headers.Get("x-body"), got.headers.Get("x-length"))
			}
		}
		if got := g.send(t, "POST", chatPath+"?X-Amz-Signature=a", streaming); got.headers.Get("x-body") != strconv.Quote(streaming) {
			t.Errorf("signed in the query, %s: %s", hold, got.headers.Get("x-body"))
		}
		if got := g.send(t, "POST", chatPath, streaming); !strings.Contains(got.headers.Get("x-body"), "include_usage") || strings.Contains(got.body, "usage") {
			t.Errorf("unsigned, %s: the server got %s", hold, got.headers.Get("x-body"))
		}
	}
}

// An upstream that refuses the question is asked once, or not at all; who provokes errors of his own can't have it left out.
func TestAnUpstreamThatRefusesTheQuestionForUsage(t *testing.T) {
	var strict atomic.Bool // it refuses the question; else what lacks messages, and repeats the request
	g := start(t, harness.Options{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		asked := strings.Contains(string(body), "stream_options")
		switch {
		case strict.Load() && asked:
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"error":{"message":"Unrecognized request argument supplied: stream_options"}}`)
		case !strings.Contains(string(body), "messages"):
			w.WriteHeader(http.StatusUnprocessableEntity)
			_, _ = io.WriteString(w, `{"detail":[{"loc":["body","messages"],"msg":"Field required","input":`+string(body)+`}]}`)
		default:
			w.Header().Set("x-asked", strconv.FormatBool(asked))
			events(w, asked)
		}
	}))
	strict.Store(true)
	if got := statuses(3, func(int) answer { return g.send(t, "POST", chatPath, streaming) }); got != "400 200 200" {
		t.Errorf("a strict server: %s", got)
	}
	g.configure(t, `{"upstreams":[{"name":"strict","models":["llama"],"ensureStreamUsage":false}]}`)
	if got := statuses(2, func(int) answer { return g.send(t, "POST", chatPath, streaming) }); got != "200 200" {
		t.Errorf("a strict server that is known for it: %s", got)
	}
	strict.Store(false)
	g.configure(t, `{"usage":{"ensureStreamUsage":false},"upstreams":[{"name":"lenient","models":["llama"],"ensureStreamUsage":true}]}`)
	for range 5 {
		if got := g.send(t, "POST", chatPath, `{"model":"llama","stream":true}`); got.status != 422 || !strings.Contains(got.body, "stream_options") {
			t.Fatalf("the attack: %d %s", got.status, got.body)
		}
	}
	if got := g.send(t, "POST", chatPath, streaming); got.headers.Get("x-asked") != "true" {
		t.Errorf("after the attack: %d, asked %s", got.status, got.headers.Get("x-asked"))
	}
}
