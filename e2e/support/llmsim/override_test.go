package llmsim

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
)

func TestJSONOverrides(t *testing.T) {
	s := New(Options{})
	body := `{"model":"m","messages":[],"max_tokens":10}`
	for _, tc := range []struct {
		name    string
		headers []string
		wants   []string
	}{
		{"default", nil, []string{
			`"object":"chat.completion"`, `"model":"m"`, `"finish_reason":"length"`,
			`"usage":{"prompt_tokens":10,"completion_tokens":10,"total_tokens":20,` +
				`"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}}`,
		}},
		{"tokens", []string{"tokens", "3"}, []string{`"content":"water rises until"`, `"finish_reason":"stop"`, `"completion_tokens":3,`}},
		{"no tokens", []string{"tokens", "0"}, []string{`"content":""`, `"completion_tokens":0,`}},
		{"tokens above limit", []string{"tokens", "30"}, []string{`"finish_reason":"length"`, `"completion_tokens":10,`}},
		{"prompt", []string{"prompt-tokens", "500", "cached-tokens", "480"}, []string{`"prompt_tokens":500,`, `"cached_tokens":480}`}},
		{"cached above prompt", []string{"prompt-tokens", "5", "cached-tokens", "480"}, []string{`"cached_tokens":5}`}},
		{"reasoning", []string{"tokens", "5", "reasoning-tokens", "2"}, []string{
			`"content":"water rises until"`, `"reasoning_content":"water rises"`, `"reasoning_tokens":2}`,
		}},
		{"content", []string{"content", `say "a  b" <é>`}, []string{`"content":"say \"a  b\" \u003cé\u003e"`, `"completion_tokens":4,`}},
		{"content repeated", []string{"content", "a b", "tokens", "5"}, []string{`"content":"a b a b a"`}},
		{"usage null", []string{"usage", "null"}, []string{`"usage":null`}},
		{"id", []string{"id", "seven"}, []string{`"choices":[`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := direct(s, chatPath, body, tc.headers...)
			if a.StatusCode != 200 || !json.Valid([]byte(a.body)) {
				t.Fatalf("status %d: %s", a.StatusCode, a.body)
			}
			contains(t, a.body, tc.wants...)
		})
	}
	excludes(t, direct(s, chatPath, body, "usage", "never").body, "usage")
}

func TestRefusedOverrides(t *testing.T) {
	s := New(Options{})
	for _, h := range [][2]string{
		{"token", "1"}, {"tokens", "x"}, {"tokens", "-1"}, {"ttft", "5"}, {"itl", "-1s"}, {"hang", "ever"},
		{"chunk", "bytes:0"}, {"chunk", "parts"}, {"eol", "\\n"}, {"usage", "sometimes"}, {"status", "200"},
		{"gzip", "maybe"}, {"content", ""}, {"ttft", "2h"},
		{"tool-calls", "[]"}, {"tool-calls", `[{"name":"f"}]`}, {"tool-calls", `[{"name":"f","arguments":[]}]`},
		{"tool-calls", `[{"name":"f","arguments":{},"id":"x"}]`}, {"tool-calls", `[{"name":"f","arguments":{}}] x`},
	} {
		a := direct(s, chatPath, chatJSON, h[0], h[1])
		if a.StatusCode != 400 {
			t.Errorf("x-sim-%s: %s: status %d", h[0], h[1], a.StatusCode)
		}
		contains(t, a.body, "x-sim-"+h[0], "invalid_request_error")
	}
}

func TestRefusedRequests(t *testing.T) {
	s := New(Options{MaxBody: 100})
	for _, tc := range []struct {
		path, body string
		status     int
		want       string
	}{
		{chatPath, `{`, 400, "could not parse"},
		{chatPath, `{"model":"m"}`, 400, "'messages'"},
		{chatPath, `{"messages":null}`, 400, "'messages'"},
		{chatPath, `{"messages":[],"max_tokens":-1}`, 400, "max_tokens must be"},
		{chatPath, `{"messages":[],"n":0}`, 400, "n must be"},
		{"/v1/completions", `{"model":"m"}`, 400, "'prompt'"},
		{"/v1/completions", `{"prompt":[]}`, 400, "prompt must be"},
		{"/v1/completions", `{"prompt":["a",1]}`, 400, "prompt must be"},
		{"/v1/embeddings", `{"model":"m"}`, 400, "'input'"},
		{"/v1/embeddings", `{"input":{}}`, 400, "input must be"},
		{"/v1/embeddings", `{"input":"a","encoding_format":"hex"}`, 400, "encoding_format"},
		{"/v1/embeddings", `{"input":"a","dimensions":0}`, 400, "dimensions"},
		{chatPath, strings.Repeat(" ", 101), 413, "too large"},
		{"/v1/responses", `{"model":"m"}`, 400, "'input'"},
		{"/v1/messages", `{"max_tokens":1}`, 400, `{"type":"error","error":{"type":"invalid_request_error","message":"missing`},
		{"/v1/messages", `{"messages":[]}`, 400, "max_tokens"},
		{"/v1/messages", strings.Repeat(" ", 101), 413, "request_too_large"},
		{"/v2/chat", `{}`, 404, "unknown path"},
		{"/v1/models", `{}`, 405, "not allowed"},
	} {
		a := direct(s, tc.path, tc.body)
		if a.StatusCode != tc.status {
			t.Errorf("%s %s: status %d, want %d", tc.path, tc.body, a.StatusCode, tc.status)
		}
		contains(t, a.body, tc.want)
	}
	// The body beyond the limit was read as well.
	for _, r := range s.Requests() {
		if r.Status == 413 && r.BodyBytes != 101 {
			t.Errorf("read %d bytes", r.BodyBytes)
		}
	}
}

func TestStatusOverride(t *testing.T) {
	s := New(Options{})
	for status, want := range map[int]string{
		400: `"type":"invalid_request_error"`, 401: `"code":"invalid_api_key"`, 404: `"param":"model"`,
		422: `"type":"invalid_request_error"`, 500: `"type":"server_error"`, 503: `overloaded`, 529: `"server_error"`,
	} {
		a := direct(s, chatPath, chatStream, "status", strconv.Itoa(status))
		if a.StatusCode != status || a.Header.Get("Content-Type") != "application/json" || a.Header.Get("Retry-After") != "" {
			t.Errorf("status %d: %d %v", status, a.StatusCode, a.Header)
		}
		contains(t, a.body, `{"error":{"message":"`, want)
	}
	a := direct(s, chatPath, chatJSON, "status", "429", "retry-after", "7")
	if a.StatusCode != 429 || a.Header.Get("Retry-After") != "7" ||
		a.Header.Get("X-Ratelimit-Reset-Requests") != "7s" || a.Header.Get("X-Ratelimit-Remaining-Requests") != "0" {
		t.Errorf("429: %d %v", a.StatusCode, a.Header)
	}
	contains(t, a.body, `"code":"rate_limit_exceeded"`)
	if a := direct(s, chatPath, chatJSON, "status", "429"); a.Header.Get("Retry-After") != "1" {
		t.Errorf("retry-after %q", a.Header.Get("Retry-After"))
	}
	if st := s.Stats(); st.Errors != 9 || st.Completed != 9 || st.Tokens != 0 || st.MaxRunning != 0 {
		t.Errorf("stats %+v", st)
	}
}

func TestGzip(t *testing.T) {
	_, url := start(t, Options{})
	for _, req := range []string{chatJSON, chatStream} {
		plain := send(t, url+chatPath, req, "tokens", "4")
		for _, chunk := range []string{"event", "whole", "bytes:7"} {
			r := newPost(t.Context(), url+chatPath, req, "tokens", "4", "gzip", "", "chunk", chunk)
			r.Header.Set("Accept-Encoding", "identity") // keeps the transport from decompressing
			res, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			if res.Header.Get("Content-Encoding") != "gzip" {
				t.Errorf("headers %v", res.Header)
			}
			z, err := gzip.NewReader(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(z)
			_ = res.Body.Close()
			if err != nil || len(text) != len(plain.body) {
				t.Errorf("%s: %v, %d bytes, want %d:\n%s", chunk, err, len(text), len(plain.body), text)
			}
		}
	}
}

func TestGzipWhereItIsAccepted(t *testing.T) {
	s := New(Options{})
	for accept, want := range map[string]string{
		"": "", "identity": "", "br, gzip": "gzip", "GZIP;q=0.5": "gzip", "gzip; q=0, br": "", "gzip;q=0.0": "", "gzip;q=1": "gzip",
	} {
		r := newPost(t.Context(), chatPath, chatJSON, "gzip", "accepted")
		r.Header.Set("Accept-Encoding", accept)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if got := w.Header().Get("Content-Encoding"); got != want {
			t.Errorf("accepting %q: content-encoding %q, want %q", accept, got, want)
		}
	}
}

func TestBodyIsReadBeforeAnyAnswer(t *testing.T) {
	s, url := start(t, Options{})
	for _, headers := range [][]string{nil, {"status", "401"}, {"tokens", "bad"}} {
		gate := make(chan struct{})
		r := newPost(t.Context(), url+chatPath, "", headers...)
		r.Body, r.ContentLength = io.NopCloser(body(chatStream, gate, io.EOF)), -1
		got := make(chan answer, 1)
		go func() {
			res, err := http.DefaultClient.Do(r)
			got <- answer{res, "", err}
		}()
		received := s.Stats().Received
		await(t, s, func(st Stats) bool { return st.Received > received || len(got) > 0 })
		select {
		case a := <-got:
			t.Errorf("%v: answered before the end of the body: %v", headers, a.err)
		default:
		}
		close(gate)
		if a := <-got; a.err != nil {
			t.Error(a.err)
		} else {
			_ = a.Body.Close()
		}
	}
}

func TestOptionsSetTheDefaultAnswer(t *testing.T) {
	s := New(Options{
		Content: "one two three", PromptTokens: 9, CachedTokens: 4, Usage: UsageAlways, EOL: "crlf",
		Comments: 2, Models: []string{"a", "b"},
	})
	a := direct(s, chatPath, `{"stream":true,"messages":[]}`)
	contains(t, a.body, `"content":"one"`, `"content":" three"`, `"prompt_tokens":9`, "\r\n\r\n", ": comment\r\n", `"model":"a"`)
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v1/models", nil))
	contains(t, w.Body.String(), `"object":"list"`, `"id":"a"`, `"id":"b"`)
	a = direct(New(Options{Status: 503}), chatPath, chatJSON)
	if a.StatusCode != 503 {
		t.Errorf("status %d", a.StatusCode)
	}
}

func TestValidate(t *testing.T) {
	for _, o := range []Options{
		{Tokens: -1}, {TTFT: -1}, {ITL: maxDuration + 1}, {Hang: -2}, {Chunk: "x"}, {EOL: "x"}, {Usage: "x"},
		{Status: 200}, {Slots: -1}, {RPM: -1}, {Slowdown: -1}, {ErrorAfter: -1}, {MaxBody: -1},
	} {
		if o.Validate() == nil {
			t.Errorf("accepted %+v", o)
		}
	}
	if err := (Options{Hang: Forever, Chunk: "bytes:3"}).Validate(); err != nil {
		t.Error(err)
	}
}

func TestEveryHeaderHasItsFlag(t *testing.T) {
	var o Options
	fs := flag.NewFlagSet("", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	o.RegisterFlags(fs)
	for _, over := range overrides {
		if over.name != "id" && fs.Lookup(over.name) == nil {
			t.Errorf("no flag --%s", over.name)
		}
	}
	err := fs.Parse([]string{
		"--hang", "forever", "--content", "a b", "--models", "x,y", "--itl", "3ms", "--gzip",
		"--record-headers", "*",
	})
	if err != nil || o.Validate() != nil {
		t.Fatal(err, o.Validate())
	}
	if s, _ := o.script(); s.hang != Forever || s.tokens != 2 || !s.gzip || len(o.Models) != 2 {
		t.Errorf("script %+v", s)
	}
	if err := fs.Parse([]string{"--hang", "x"}); err == nil || errors.Is(err, flag.ErrHelp) {
		t.Errorf("error %v", err)
	}
	var help bytes.Buffer
	WriteFlagHelp(&help, fs)
	WriteHeaderHelp(&help)
	contains(t, help.String(), "--slots int", "(default 8192)", "x-sim-ttft: DURATION", "--hang duration")
}
