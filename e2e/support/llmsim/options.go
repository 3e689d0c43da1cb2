package llmsim

import (
	"errors"
	"fmt"
	"time"
)

// Forever is the Options.Hang that leaves every request unanswered until its client
// hangs up.
const Forever time.Duration = -1

// Defaults that a zero field of Options stands for.
const (
	DefaultTokens       = 76
	DefaultModel        = "sim-model"
	DefaultEmbeddingDim = 1024
	DefaultHistory      = 10_000
	DefaultRecordBody   = 8 << 10
	DefaultMaxBody      = 64 << 20
)

// Values of Options.Usage and of the x-sim-usage header.
const (
	// UsageAuto follows the request: always in a JSON answer, and in a stream of
	// chunks only where stream_options asks for it. Then the chunks before the last
	// have "usage":null, as OpenAI's do.
	UsageAuto = "auto"
	// UsageAlways adds the final usage chunk to every stream of chunks.
	UsageAlways = "always"
	// UsageNever reports no usage at all, whatever the request asks.
	UsageNever = "never"
	// UsageEvery puts the usage so far in every chunk, as vLLM does for
	// continuous_usage_stats.
	UsageEvery = "every"
	// UsageNull writes "usage":null in JSON answers and content chunks, as OpenAI
	// does; the final usage chunk still follows include_usage.
	UsageNull = "null"
)

// Options configure a Server. The zero value is a server that answers at once,
// without a limit. The fields from Tokens to ToolCalls are defaults that a request
// overrides with the x-sim-* header of the same name.
type Options struct {
	// Models is what GET /v1/models lists. Answers echo the model of the request,
	// listed or not, and name the first of Models where the request names none.
	Models []string
	// EmbeddingDim is the length of an embedding vector.
	EmbeddingDim int

	// Slots bounds how many requests generate at once; further ones wait in a FIFO
	// queue. 0 is unlimited.
	Slots int
	// Slowdown makes the inter-token latency grow with the load:
	// ITL*(1+Slowdown*(running-1)).
	Slowdown float64
	// RPM is the server's own limit of requests per minute, counted in fixed
	// windows; a request above it is answered with 429. 0 is unlimited.
	RPM int

	// Tokens is the number of completion tokens of an answer; a request's
	// max_tokens or max_completion_tokens lowers it.
	Tokens int
	// PromptTokens is the reported prompt size; 0 estimates it as a quarter of the
	// bytes of the body.
	PromptTokens int
	// CachedTokens is how many of the prompt tokens are reported as cached.
	CachedTokens int
	// ReasoningTokens is how many of the completion tokens are reasoning: in chat
	// answers they come first, as reasoning_content, and elsewhere they don't show.
	ReasoningTokens int
	// TTFT is the time to the first token and ITL the time between tokens.
	TTFT, ITL time.Duration
	// Chunk is how the body is cut into writes: "event", "bytes:N" or "whole".
	Chunk string
	// EOL ends the lines of a stream: "lf", "crlf" or "cr".
	EOL string
	// Comments puts an SSE comment line before every Comments-th event.
	Comments int
	// NoDone leaves out the final "data: [DONE]".
	NoDone bool
	// NoTrailingBlank leaves out the blank line after the last event of a stream.
	NoTrailingBlank bool
	// Usage is one of the Usage* constants.
	Usage string
	// Status, from 400 to 599, answers with that error.
	Status int
	// RetryAfter is the retry-after of a 429, in seconds.
	RetryAfter int
	// ErrorAfter fails generation after that many tokens; 0 is off.
	ErrorAfter int
	// AbortAfter cuts the connection after that many tokens; 0 is off.
	AbortAfter int
	// Hang delays the whole answer, headers included; Forever never answers.
	Hang time.Duration
	// Gzip compresses answers whether or not the client accepts it.
	Gzip bool
	// Content is the text of an answer, a token for each word.
	Content string
	// ToolCalls are what an answer calls in place of a text, as a JSON list of
	// {"name": "...", "arguments": {...}}. A request must offer all these tools.
	ToolCalls string

	// NoHistory turns off Requests, for benchmarks. Stats stay on.
	NoHistory bool
	// History bounds how many requests are remembered; the oldest leave first.
	History int
	// RecordBody bounds the copy of a body kept with its record.
	RecordBody int
	// RecordHeaders names the request headers kept with a record; a name that ends
	// with * is a prefix. Nil keeps DefaultRecordHeaders.
	RecordHeaders []string
	// MaxBody bounds the bodies that are parsed; a longer one is read to its end
	// and answered with 413.
	MaxBody int
}

// DefaultRecordHeaders are the request headers that records keep when
// Options.RecordHeaders is nil. Credentials are not among them.
var DefaultRecordHeaders = []string{
	"accept", "accept-encoding", "content-encoding", "content-length", "content-type",
	"host", "traceparent", "transfer-encoding", "user-agent",
	"x-envoy-*", "x-forwarded-*", "x-request-id", "x-sim-*", "x-spillway-*",
}

// Validate tells what is wrong with the options. New panics on the same mistakes.
func (o Options) Validate() error {
	_, err := o.script()
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name  string
		value int
	}{
		{"slots", o.Slots}, {"rpm", o.RPM}, {"embedding-dim", o.EmbeddingDim},
		{"history", o.History}, {"record-body", o.RecordBody}, {"max-body", o.MaxBody},
	} {
		if f.value < 0 {
			return fmt.Errorf("%s: must not be negative", f.name)
		}
	}
	if !(o.Slowdown >= 0 && o.Slowdown <= maxSlowdown) {
		return fmt.Errorf("slowdown: must be from 0 to %d", maxSlowdown)
	}
	return nil
}

// maxSlowdown keeps the product of latency and load within a time.Duration.
const maxSlowdown = 100

// withDefaults fills in the zero fields that are not part of the script.
func (o Options) withDefaults() Options {
	if len(o.Models) == 0 {
		o.Models = []string{DefaultModel}
	}
	if o.RecordHeaders == nil {
		o.RecordHeaders = DefaultRecordHeaders
	}
	for _, f := range []struct {
		value *int
		zero  int
	}{
		{&o.EmbeddingDim, DefaultEmbeddingDim},
		{&o.History, DefaultHistory},
		{&o.RecordBody, DefaultRecordBody},
		{&o.MaxBody, DefaultMaxBody},
	} {
		if *f.value == 0 {
			*f.value = f.zero
		}
	}
	return o
}

// script is the answer that a request without x-sim-* headers gets.
func (o Options) script() (script, error) {
	s := script{
		tokens: DefaultTokens, promptTokens: unset, retryAfter: unset,
		errorAfter: unset, abortAfter: unset, eol: "\n", usage: UsageAuto,
		comments: o.Comments, cachedTokens: o.CachedTokens, reasoningTokens: o.ReasoningTokens,
		ttft: o.TTFT, itl: o.ITL, hang: o.Hang, status: o.Status,
		noDone: o.NoDone, noTrailingBlank: o.NoTrailingBlank, gzip: o.Gzip,
	}
	// Here, unlike in a header, zero means that nothing was chosen.
	for _, f := range []struct {
		to   *int
		from int
	}{
		{&s.tokens, o.Tokens}, {&s.promptTokens, o.PromptTokens}, {&s.retryAfter, o.RetryAfter},
		{&s.errorAfter, o.ErrorAfter}, {&s.abortAfter, o.AbortAfter},
	} {
		if f.from != 0 {
			*f.to = f.from
		}
	}
	return s, errors.Join(s.setTexts(o), o.checkRanges())
}

// setTexts applies the options that are texts, where they are set.
func (s *script) setTexts(o Options) error {
	for _, f := range []struct{ name, value string }{
		{"chunk", o.Chunk}, {"eol", o.EOL}, {"usage", o.Usage}, {"content", o.Content}, {"tool-calls", o.ToolCalls},
	} {
		if f.value == "" {
			continue
		}
		if err := overrideByName[f.name].set(s, f.value); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	if s.words != nil && o.Tokens == 0 {
		s.tokens = len(s.words) + s.reasoningTokens
	}
	return nil
}

func (o Options) checkRanges() error {
	for _, f := range []struct {
		name  string
		value int
	}{
		{"tokens", o.Tokens}, {"prompt-tokens", o.PromptTokens}, {"cached-tokens", o.CachedTokens},
		{"reasoning-tokens", o.ReasoningTokens}, {"comments", o.Comments},
		{"retry-after", o.RetryAfter}, {"error-after", o.ErrorAfter}, {"abort-after", o.AbortAfter},
	} {
		if f.value < 0 || f.value > maxCount {
			return fmt.Errorf("%s: must be from 0 to %d", f.name, maxCount)
		}
	}
	if o.TTFT < 0 || o.ITL < 0 || o.TTFT > maxDuration || o.ITL > maxDuration {
		return fmt.Errorf("ttft and itl: must be from 0 to %s", maxDuration)
	}
	if (o.Hang < 0 && o.Hang != Forever) || o.Hang > maxDuration {
		return fmt.Errorf("hang: must be from 0 to %s, or forever", maxDuration)
	}
	if o.Status != 0 && (o.Status < 400 || o.Status > 599) {
		return errors.New("status: must be from 400 to 599")
	}
	return nil
}
