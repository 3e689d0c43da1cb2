package envoytest

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/support/llmsim"
)

// The promise of the first page, in each way that Envoy can hold a request back.
func TestAQuotaOf300TokensHoldsFourAnswersOf76(t *testing.T) {
	for _, hold := range []harness.Hold{harness.HoldStopIteration, harness.HoldBufferFilter, harness.HoldNone} {
		t.Run(string(hold), func(t *testing.T) {
			t.Parallel()
			g := start(t, harness.Options{Hold: hold, Config: seedQuota, Concurrency: 2}, llmsim.Options{})
			t.Run("JSON answers", func(t *testing.T) { jsonQuota(t, g) })
			t.Run("the OpenAI client", func(t *testing.T) { clientQuota(t, g) })
			t.Run("streams", func(t *testing.T) { streamQuota(t, g) })
			t.Run("a limit that depends on the model", func(t *testing.T) {
				config := strings.Replace(seedQuota, `"per"`, `"match": {"models": ["mock*"]}, "per"`, 1)
				if err := g.Reconfigure(config); err != nil {
					t.Fatal(err)
				}
				if hold == harness.HoldNone {
					t.Run("the server sees the headers of a refused request and then a reset", func(t *testing.T) { seenThenReset(t, g) })
					return
				}
				t.Run("the server never sees a refused request", func(t *testing.T) { neverSeen(t, g) })
			})
		})
	}
}

func jsonQuota(t *testing.T, g *gateway) {
	got := statuses(4, func() answer {
		a := g.chat(t, user("anna"))
		if a.header.Get("x-ratelimit-limit-tokens") != "300" || a.header.Get("x-ratelimit-reset-tokens") == "" {
			t.Errorf("an admitted request is not told its limit: %v", a)
		}
		a.number(t, "x-ratelimit-remaining-tokens")
		return a
	})
	if got != "200 200 200 200" {
		t.Fatalf("the first four answers: %s, want four times 200", got)
	}
	wantOverQuota(t, g.chat(t, user("anna")))
	if n := len(g.received("anna")); n != 4 {
		t.Errorf("the server saw %d requests, want the 4 that were admitted", n)
	}
	wantStatus(t, g.chat(t, user("berta")), http.StatusOK)
}

// wantOverQuota checks the answer to a request of a user that is 4 tokens over, of which each takes 4320 s, and some microseconds by rounding. What leaks from the bucket meanwhile
// makes the waits shorter: by no more than the test has taken.
func wantOverQuota(t *testing.T, a answer) {
	t.Helper()
	wantStatus(t, a, http.StatusTooManyRequests)
	wantHeaders(t, a, map[string]string{
		"content-type":                 "application/json",
		"x-spillway-reason":            "limits/tokens_exceeded",
		"x-ratelimit-limit-tokens":     "300",
		"x-ratelimit-remaining-tokens": "0",
	})
	const most, meanwhile = 4 * 4320, 3600
	if wait := a.number(t, "retry-after"); wait < most-meanwhile || wait > most+1 {
		t.Errorf("retry-after is %d, want %d at the most and not much less", wait, most)
	}
	if wait := a.number(t, "retry-after-ms"); wait < (most-meanwhile)*1000 || wait > (most+1)*1000 {
		t.Errorf("retry-after-ms is %d, want %d at the most and not much less", wait, most*1000)
	}
	const full = 360*time.Hour + most*time.Second
	if reset, err := time.ParseDuration(a.header.Get("x-ratelimit-reset-tokens")); err != nil || reset > full+time.Second || reset < full-meanwhile*time.Second {
		t.Errorf("x-ratelimit-reset-tokens is %v (%v), want %v or a little less", reset, err, full)
	}
	if !bytes.Contains(a.body, []byte("Rate limit reached for ")) {
		t.Errorf("the error body doesn't say what happened: %s", a.body)
	}
}

func clientQuota(t *testing.T, g *gateway) {
	client := openai.NewClient(option.WithBaseURL(g.URL+"/v1"), option.WithAPIKey("key"),
		option.WithHeader("x-user-id", "carl"), option.WithMaxRetries(0))
	ask := func() (*openai.ChatCompletion, error) {
		return client.Chat.Completions.New(t.Context(), openai.ChatCompletionNewParams{
			Model: "mock-llm", Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("hello")},
		})
	}
	for range 4 {
		completion, err := ask()
		if err != nil {
			t.Fatal(err)
		}
		if completion.Usage.CompletionTokens != 76 {
			t.Fatalf("the client reads a usage of %d, want 76", completion.Usage.CompletionTokens)
		}
	}
	_, err := ask()
	var refused *openai.Error
	if !errors.As(err, &refused) {
		t.Fatalf("the client's error is a %T (%v), want its own of the API", err, err)
	}
	if refused.StatusCode != 429 || refused.Code != "rate_limit_exceeded" || refused.Type != "tokens" {
		t.Errorf("the client reads status %d, code %q, type %q; want 429, rate_limit_exceeded, tokens",
			refused.StatusCode, refused.Code, refused.Type)
	}
	if !strings.Contains(refused.Message, "limit 300, used 304") {
		t.Errorf("the client reads the message %q, which lacks the numbers", refused.Message)
	}
}

const streamBody = `{"model":"mock-llm","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"hi"}]}`

// streamQuota lets usage arrive in every kind of piece, one of which splits it.
func streamQuota(t *testing.T, g *gateway) {
	for _, eol := range []string{"lf", "crlf", "cr"} {
		for _, chunk := range []string{"bytes:7", "event", "whole"} {
			name := "stream-" + eol + "-" + chunk
			h := user(name, "x-sim-eol", eol, "x-sim-chunk", chunk, "x-sim-comments", "10")
			want := stable(g.do(t, newRequest(t, http.MethodPost, g.direct+chatPath, h, strings.NewReader(streamBody))).body)
			for range 4 {
				a := g.post(t, chatPath, streamBody, h)
				wantStatus(t, a, http.StatusOK)
				wantSameBytes(t, stable(a.body), want)
			}
			wantOverQuota(t, g.post(t, chatPath, streamBody, h))
		}
	}
}

var unstable = regexp.MustCompile(`"id":"chatcmpl-[0-9a-f]{32}"|"created":\d+`)

// stable takes out what the simulator makes anew for each answer.
func stable(body []byte) []byte { return unstable.ReplaceAll(body, nil) }

func neverSeen(t *testing.T, g *gateway) {
	if got := statuses(5, func() answer { return g.chat(t, user("dora")) }); got != "200 200 200 200 429" {
		t.Fatalf("got %s, want 200 200 200 200 429", got)
	}
	if n := len(g.received("dora")); n != 4 {
		t.Errorf("the server saw %d requests, want 4", n)
	}
}

// seenThenReset sends the headers well before the body, so that they reach the server whatever the timing.
func seenThenReset(t *testing.T, g *gateway) {
	if got := statuses(4, func() answer { return g.chat(t, user("dora")) }); got != "200 200 200 200" {
		t.Fatalf("got %s, want four times 200", got)
	}
	before := g.sim.Stats()
	body, send := io.Pipe()
	go func() {
		err := g.sim.Await(t.Context(), func(s llmsim.Stats) bool { return s.Received > before.Received })
		if err == nil {
			_, err = io.WriteString(send, chatBody)
		}
		_ = send.CloseWithError(err)
	}()
	wantStatus(t, g.do(t, newRequest(t, http.MethodPost, g.URL+chatPath, user("dora"), body)), http.StatusTooManyRequests)
	g.awaitServer(t, "the server's request is reset", func(s llmsim.Stats) bool { return s.BodyAborted > before.BodyAborted })
	records := g.received("dora")
	if last := records[len(records)-1]; len(records) != 5 || last.BodyBytes != 0 {
		t.Errorf("the server saw %d requests, the last with %d bytes of body; want 5, and none of the body", len(records), last.BodyBytes)
	}
}
