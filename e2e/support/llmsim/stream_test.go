package llmsim

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

func TestStreamShape(t *testing.T) {
	s := New(Options{})
	a := direct(s, chatPath, chatStream, "tokens", "3", "reasoning-tokens", "1")
	if ct := a.Header.Get("Content-Type"); ct != "text/event-stream; charset=utf-8" {
		t.Errorf("content type %q", ct)
	}
	ev := events(a.body)
	if len(ev) != 4 || ev[3] != "[DONE]" || !strings.HasSuffix(a.body, "data: [DONE]\n\n") {
		t.Fatalf("stream:\n%s", a.body)
	}
	contains(t, ev[0], `"object":"chat.completion.chunk"`, `"delta":{"role":"assistant","reasoning_content":"water"}`, `"finish_reason":null`)
	contains(t, ev[1], `"delta":{"content":"water"}`)
	contains(t, ev[2], `"delta":{"content":" rises"}`, `"finish_reason":"stop"`)
	excludes(t, a.body, "usage")
	for _, e := range ev[:3] {
		if !json.Valid([]byte(e)) {
			t.Errorf("invalid: %s", e)
		}
	}
	a = direct(s, chatPath, strings.Replace(chatStream, "{", `{"n":2,"max_completion_tokens":0,`, 1))
	if ev = events(a.body); len(ev) != 3 {
		t.Fatalf("stream:\n%s", a.body)
	}
	contains(t, ev[1], `"index":1,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":"length"`)
	a = direct(s, "/v1/completions", `{"prompt":["a","b"],"stream":true}`, "tokens", "2")
	if ev = events(a.body); len(ev) != 5 {
		t.Fatalf("stream:\n%s", a.body)
	}
	contains(t, ev[3], `"object":"text_completion"`, `{"index":1,"text":" rises","logprobs":null,"finish_reason":"stop"}`)
}

func TestStreamUsage(t *testing.T) {
	continuous := strings.Replace(withUsage, `{"include`, `{"continuous_usage_stats":true,"include`, 1)
	s := New(Options{})
	for _, tc := range []struct {
		req, mode   string
		final       bool
		every, null bool
	}{
		{chatStream, "auto", false, false, false},
		{withUsage, "auto", true, false, true},
		{continuous, "auto", true, true, false},
		{chatStream, "always", true, false, false},
		{withUsage, "never", false, false, false},
		{chatStream, "every", false, true, false},
		{withUsage, "every", true, true, false},
		{chatStream, "null", false, false, true},
		{withUsage, "null", true, false, true},
	} {
		ev := events(direct(s, chatPath, tc.req, "tokens", "2", "usage", tc.mode).body)
		last := ev[len(ev)-2]
		if strings.Contains(last, `"choices":[],"usage":{`) != tc.final {
			t.Errorf("%s of %s: final usage in %s", tc.mode, tc.req, last)
		}
		if strings.Contains(ev[0], `"completion_tokens":1,`) != tc.every {
			t.Errorf("%s of %s: usage in %s", tc.mode, tc.req, ev[0])
		}
		if strings.Contains(ev[0], `"usage":null`) != tc.null {
			t.Errorf("%s of %s: null usage in %s", tc.mode, tc.req, ev[0])
		}
	}
}

func TestLineEndings(t *testing.T) {
	s := New(Options{})
	for name, eol := range map[string]string{"lf": "\n", "crlf": "\r\n", "cr": "\r"} {
		a := direct(s, chatPath, withUsage, "tokens", "3", "eol", name)
		parts := strings.Split(a.body, eol+eol)
		if len(parts) != 6 || parts[5] != "" || parts[4] != "data: [DONE]" {
			t.Errorf("%s: %q", name, parts)
		}
		for _, p := range parts {
			excludes(t, p, "\r", "\n")
		}
	}
}

func TestStreamEnds(t *testing.T) {
	s := New(Options{})
	for _, req := range []string{chatStream, withUsage} {
		a := direct(s, chatPath, req, "tokens", "1", "no-done", "true")
		excludes(t, a.body, "[DONE]")
		if !strings.HasSuffix(a.body, "}\n\n") {
			t.Errorf("end %q", a.body)
		}
		a = direct(s, chatPath, req, "tokens", "1", "no-done", "1", "no-trailing-blank", "")
		if !strings.HasSuffix(a.body, "}\n") || strings.HasSuffix(a.body, "\n\n") {
			t.Errorf("end %q", a.body)
		}
	}
	a := direct(s, chatPath, chatStream, "tokens", "0", "no-done", "1", "no-trailing-blank", "1")
	if strings.Count(a.body, "\n") != 1 {
		t.Errorf("end %q", a.body)
	}
	a = direct(s, chatPath, chatStream, "tokens", "2", "no-trailing-blank", "true")
	if !strings.HasSuffix(a.body, "}\n\ndata: [DONE]\n") {
		t.Errorf("end %q", a.body)
	}
	a = direct(s, chatPath, chatStream, "tokens", "2", "no-trailing-blank", "false")
	if !strings.HasSuffix(a.body, "[DONE]\n\n") {
		t.Errorf("end %q", a.body)
	}
}

func TestComments(t *testing.T) {
	a := direct(New(Options{}), chatPath, chatStream, "tokens", "4", "comments", "2")
	if n := strings.Count(a.body, ": comment\ndata: "); n != 3 {
		t.Errorf("%d comments:\n%s", n, a.body)
	}
}

func TestChunking(t *testing.T) {
	s := New(Options{})
	w := directWrites(s, chatStream, "tokens", "3")
	if len(w.parts) != 4 || w.flushed != 4 {
		t.Errorf("event: %d writes, %d flushed", len(w.parts), w.flushed)
	}
	for _, p := range w.parts {
		if !strings.HasPrefix(p, "data: ") || !strings.HasSuffix(p, "\n\n") {
			t.Errorf("event: write %q", p)
		}
	}
	w = directWrites(s, chatStream, "tokens", "3", "chunk", "whole")
	if len(w.parts) != 1 || w.flushed != 1 || len(events(w.parts[0])) != 4 {
		t.Errorf("whole: %q", w.parts)
	}
	w = directWrites(s, withUsage, "tokens", "3", "chunk", "bytes:3", "eol", "crlf")
	split := false
	for i, p := range w.parts {
		if len(p) != 3 && i < len(w.parts)-1 {
			t.Errorf("bytes: write %q", p)
		}
		split = split || strings.HasSuffix(p, "\r")
	}
	if !split || w.flushed != len(w.parts) || !strings.HasSuffix(w.Body.String(), "[DONE]\r\n\r\n") {
		t.Errorf("bytes: %d writes, %d flushed, CR|LF split: %v", len(w.parts), w.flushed, split)
	}
	w = directWrites(s, chatJSON, "tokens", "3", "chunk", "bytes:10")
	if len(w.parts) < 10 || len(w.parts[3]) != 10 || !json.Valid(w.Body.Bytes()) {
		t.Errorf("JSON: %q", w.parts)
	}
}

func TestErrorAfter(t *testing.T) {
	s := New(Options{})
	for _, n := range []string{"0", "2", "4"} {
		a := direct(s, chatPath, withUsage, "tokens", "4", "error-after", n)
		ev := events(a.body)
		if len(ev) != int(n[0]-'0')+2 || ev[len(ev)-1] != "[DONE]" {
			t.Errorf("after %s:\n%s", n, a.body)
		}
		contains(t, ev[len(ev)-2], `{"error":{"message":"simulated failure after `+n, `"code":500}}`)
	}
	a := direct(s, chatPath, chatJSON, "error-after", "2")
	if a.StatusCode != 500 {
		t.Errorf("JSON: status %d", a.StatusCode)
	}
	if st := s.Stats(); st.Errors != 4 || st.Tokens != 6 || st.Running != 0 {
		t.Errorf("stats %+v", st)
	}
}

func TestAbortAfter(t *testing.T) {
	s, url := start(t, Options{})
	for _, chunk := range []string{"event", "whole", "bytes:9"} {
		a := send(t, url+chatPath, chatStream, "tokens", "4", "abort-after", "2", "chunk", chunk)
		if a.err == nil || len(events(a.body)) != 2 || !strings.HasSuffix(a.body, "\n\n") {
			t.Errorf("%s: error %v after:\n%s", chunk, a.err, a.body)
		}
	}
	a := send(t, url+chatPath, chatStream, "abort-after", "0")
	if a.err == nil || a.body != "" || a.StatusCode != 200 {
		t.Errorf("at once: %v, %q", a.err, a.body)
	}
	if res, err := http.DefaultClient.Do(newPost(t.Context(), url+chatPath, chatJSON, "abort-after", "1")); err == nil {
		t.Errorf("JSON: status %d", res.StatusCode)
		_ = res.Body.Close()
	}
	for _, r := range s.Requests() {
		if r.Outcome != Aborted {
			t.Errorf("record %+v", r)
		}
	}
	if st := s.Stats(); st.Tokens != 6 || st.Running != 0 || st.Aborted < 5 {
		t.Errorf("stats %+v", st)
	}
}
