package llmsim

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"sort"
	"strconv"
	"strings"
	"time"
)

// Bounds of what a script may ask; a count times a duration stays within a
// time.Duration.
const (
	maxCount    = 1_000_000
	maxDuration = time.Hour
)

// unset marks a count that nobody chose, where 0 is a choice of its own.
const unset = -1

// headerPrefix starts the canonical name of every override header.
const headerPrefix = "X-Sim-"

// script says how one answer is given.
type script struct {
	tokens          int
	promptTokens    int
	cachedTokens    int
	reasoningTokens int
	ttft, itl       time.Duration
	chunk           chunking
	eol             string
	comments        int
	noDone          bool
	noTrailingBlank bool
	usage           string
	status          int
	retryAfter      int
	errorAfter      int
	abortAfter      int
	hang            time.Duration
	gzip            bool
	gzipAccepted    bool // gzip is what the client accepts
	words           []string
	calls           []toolCall

	// tokensSet and ttftSet tell a request's own choice from a default: the words
	// of x-sim-content give way to the one, and an error answer, which is
	// otherwise immediate, waits for the other.
	tokensSet, ttftSet bool
}

// chunking is how a body is cut into writes: one for each event (the zero value),
// one in all, or one for every so many bytes.
type chunking struct {
	whole bool
	bytes int
}

// override is one x-sim-* header.
type override struct {
	name  string
	value string
	help  string
	set   func(*script, string) error
}

var overrides = []override{
	{"tokens", "N", "completion tokens, unless the request's max_tokens or max_completion_tokens is lower (default: the words of content, or 76)", func(s *script, v string) error {
		s.tokensSet = true
		return setCount(&s.tokens, v)
	}},
	{"prompt-tokens", "N", "prompt tokens in usage (default: a quarter of the body's bytes)", count(func(s *script) *int { return &s.promptTokens })},
	{"cached-tokens", "N", "prompt tokens reported as cached", count(func(s *script) *int { return &s.cachedTokens })},
	{"reasoning-tokens", "N", "how many of the completion tokens are reasoning", count(func(s *script) *int { return &s.reasoningTokens })},
	{"ttft", "DURATION", "time to the first token; also delays an error of x-sim-status", func(s *script, v string) error {
		s.ttftSet = true
		return setDuration(&s.ttft, v)
	}},
	{"itl", "DURATION", "inter-token latency; a JSON answer comes after ttft + tokens*itl", func(s *script, v string) error {
		return setDuration(&s.itl, v)
	}},
	{"chunk", "MODE", "event: a write for each event; bytes:N: writes of N bytes; whole: one write", setChunk},
	{"eol", "EOL", "line ending of a stream: lf, crlf or cr", setEOL},
	{"comments", "N", "an SSE comment line before every N-th event", count(func(s *script) *int { return &s.comments })},
	{"no-done", "BOOL", "leave out data: [DONE]", truth(func(s *script) *bool { return &s.noDone })},
	{"no-trailing-blank", "BOOL", "leave out the blank line after the last event", truth(func(s *script) *bool { return &s.noTrailingBlank })},
	{"usage", "MODE", "auto: as the request asks; always, never; every: in each chunk; null: \"usage\":null in each chunk", setUsage},
	{"status", "CODE", "answer with an error, 400 to 599; 429 carries retry-after and x-ratelimit-*", setStatus},
	{"retry-after", "SECONDS", "retry-after of an error (default of a 429: 1)", count(func(s *script) *int { return &s.retryAfter })},
	{"error-after", "N", "fail after N tokens: an error event in a stream, else a 500", count(func(s *script) *int { return &s.errorAfter })},
	{"abort-after", "N", "cut the connection after N tokens; a JSON answer is cut before it begins", count(func(s *script) *int { return &s.abortAfter })},
	{"hang", "DURATION", "hold the slot and send nothing, headers included, for so long, or forever", setHang},
	{"gzip", "BOOL|accepted", "compress the answer, whether or not the client accepts it, or where it does", setGzip},
	{"content", "TEXT", "text of the answer, a token for each word; repeated where tokens asks for more", setContent},
	{"tool-calls", "JSON", `answer with calls of the request's tools: [{"name": "...", "arguments": {...}}, ...]`, setToolCalls},
	{"id", "TEXT", "no effect; a label to find the request by in /sim/requests", func(*script, string) error { return nil }},
}

// overrideByName and overrideByHeader index overrides by short and by canonical
// header name.
var overrideByName, overrideByHeader = indexOverrides()

func indexOverrides() (byName, byHeader map[string]*override) {
	byName, byHeader = map[string]*override{}, map[string]*override{}
	for i := range overrides {
		o := &overrides[i]
		byName[o.name] = o
		byHeader[http.CanonicalHeaderKey(headerPrefix+o.name)] = o
	}
	return byName, byHeader
}

// WriteHeaderHelp writes the list of x-sim-* request headers.
func WriteHeaderHelp(w io.Writer) {
	for _, o := range overrides {
		fmt.Fprintf(w, "  x-sim-%s: %s\n        %s\n", o.name, o.value, o.help)
	}
}

// override applies the x-sim-* headers of a request.
func (s *script) override(h http.Header) error {
	hasContent, hasCalls := false, false
	for name, values := range h {
		if !strings.HasPrefix(name, headerPrefix) {
			continue
		}
		o := overrideByHeader[name]
		if o == nil {
			return fmt.Errorf("unknown header %s; known: %s", strings.ToLower(name), overrideNames())
		}
		if err := o.set(s, values[len(values)-1]); err != nil {
			return fmt.Errorf("header %s: %w", strings.ToLower(name), err)
		}
		hasContent = hasContent || o.name == "content"
		hasCalls = hasCalls || o.name == "tool-calls"
	}
	if hasCalls && (hasContent || s.tokensSet) {
		return errors.New("header x-sim-tool-calls: goes with neither x-sim-content nor x-sim-tokens")
	}
	if s.gzipAccepted {
		s.gzip = acceptsGzip(h)
	}
	// Headers come in no order, so this waits until all of them are read.
	if hasContent && !s.tokensSet {
		s.tokens = len(s.words) + s.reasoningTokens
	}
	return nil
}

// acceptsGzip reads accept-encoding. A coding of weight 0 is refused.
func acceptsGzip(h http.Header) bool {
	for _, value := range h["Accept-Encoding"] {
		for coding := range strings.SplitSeq(strings.ToLower(value), ",") {
			name, weight, weighted := strings.Cut(strings.ReplaceAll(coding, " ", ""), ";q=")
			if name == "gzip" && (!weighted || strings.Trim(weight, "0.") != "") {
				return true
			}
		}
	}
	return false
}

func overrideNames() string {
	names := make([]string, len(overrides))
	for i, o := range overrides {
		names[i] = "x-sim-" + o.name
	}
	sort.Strings(names)
	return strings.Join(names, ", ")
}

func count(field func(*script) *int) func(*script, string) error {
	return func(s *script, v string) error { return setCount(field(s), v) }
}

func setCount(to *int, v string) error {
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 || n > maxCount {
		return fmt.Errorf("%q is not a number from 0 to %d", v, maxCount)
	}
	*to = n
	return nil
}

func setDuration(to *time.Duration, v string) error {
	d, err := time.ParseDuration(v)
	if err != nil || d < 0 || d > maxDuration {
		return fmt.Errorf("%q is not a duration from 0 to %s, such as 250ms", v, maxDuration)
	}
	*to = d
	return nil
}

// truth reads a truth value; a header that is only present counts as true.
func truth(field func(*script) *bool) func(*script, string) error {
	return func(s *script, v string) error {
		on := v == ""
		if !on {
			var err error
			if on, err = strconv.ParseBool(v); err != nil {
				return fmt.Errorf("%q is neither true nor false", v)
			}
		}
		*field(s) = on
		return nil
	}
}

func setGzip(s *script, v string) error {
	if s.gzipAccepted = v == "accepted"; s.gzipAccepted {
		return nil
	}
	return truth(func(s *script) *bool { return &s.gzip })(s, v)
}

func setChunk(s *script, v string) error {
	switch v {
	case "event":
		s.chunk = chunking{}
		return nil
	case "whole":
		s.chunk = chunking{whole: true}
		return nil
	}
	size, ok := strings.CutPrefix(v, "bytes:")
	n, err := strconv.Atoi(size)
	if !ok || err != nil || n < 1 || n > maxCount {
		return fmt.Errorf("%q is none of event, bytes:N and whole", v)
	}
	s.chunk = chunking{bytes: n}
	return nil
}

func setEOL(s *script, v string) error {
	switch v {
	case "lf":
		s.eol = "\n"
	case "crlf":
		s.eol = "\r\n"
	case "cr":
		s.eol = "\r"
	default:
		return fmt.Errorf("%q is none of lf, crlf and cr", v)
	}
	return nil
}

func setUsage(s *script, v string) error {
	switch v {
	case UsageAuto, UsageAlways, UsageNever, UsageEvery, UsageNull:
		s.usage = v
		return nil
	}
	return fmt.Errorf("%q is none of auto, always, never, every and null", v)
}

func setStatus(s *script, v string) error {
	n, err := strconv.Atoi(v)
	if err != nil || n < 400 || n > 599 {
		return fmt.Errorf("%q is not an error status from 400 to 599", v)
	}
	s.status = n
	return nil
}

func setHang(s *script, v string) error {
	if v == "forever" {
		s.hang = Forever
		return nil
	}
	return setDuration(&s.hang, v)
}

// setContent cuts the text before each space, so that the tokens put together give
// the text again. The words are kept as they stand inside a JSON string.
func setContent(s *script, v string) error {
	if v == "" {
		return errors.New("the text is empty")
	}
	s.words = nil
	start := 0
	for i := 1; i < len(v); i++ {
		if v[i] == ' ' && v[i-1] != ' ' {
			s.words = append(s.words, jsonEscape(v[start:i]))
			start = i
		}
	}
	s.words = append(s.words, jsonEscape(v[start:]))
	return nil
}
