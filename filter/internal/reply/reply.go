// Package reply writes the answers to refused requests: status, headers and an error body in the request's dialect, so
// that the official SDKs turn them into their own rate-limit errors and wait as long as they are told.
//
// It is all text: what was decided comes in, bytes go out. Nothing a client sent is copied without being escaped and cut.
package reply

import (
	"math"
	"strconv"
	"time"
)

// Reply is an answer to send instead of asking the upstream.
type Reply struct {
	Status  int
	Headers [][2]string
	Body    []byte
}

// Refusal is what an answer says.
type Refusal struct {
	Status  int
	Reason  string // <gate>/<reason>, low-cardinality
	Message string
	Kind    string // OpenAI's "type": tokens, requests, server_error, invalid_request_error
	Code    string // OpenAI's "code"
	Wait    int64  // nanoseconds until it is worth trying again; 0: not said; MaxInt64: never
}

// Format is the shape of error bodies.
type Format string

// The formats.
const (
	OpenAI    Format = "openai"
	Anthropic Format = "anthropic"
	Gemini    Format = "gemini"
	Dynamo    Format = "dynamo" // NVIDIA Dynamo's {message,type,code}
)

// FormatOf is the format that the clients of a provider's API understand (OpenTelemetry's gen_ai.provider.name).
func FormatOf(provider string) Format {
	switch provider {
	case "anthropic":
		return Anthropic
	case "gcp.gemini":
		return Gemini
	}
	return OpenAI
}

// New writes the answer.
func New(format Format, r Refusal) *Reply {
	reply := &Reply{Status: r.Status, Headers: [][2]string{
		{"content-type", "application/json"},
		{"x-spillway-reason", r.Reason},
	}}
	switch {
	case r.Wait == math.MaxInt64:
		reply.add("x-should-retry", "false")
	case r.Wait > 0:
		reply.add("retry-after", strconv.FormatInt(ceil(r.Wait, int64(time.Second)), 10))
		reply.add("retry-after-ms", strconv.FormatInt(ceil(r.Wait, int64(time.Millisecond)), 10))
	}
	switch format {
	case Dynamo:
		reply.Body = dynamo(r)
	case Anthropic:
		reply.Body = anthropic(r)
	case Gemini:
		reply.Body = gemini(r)
	default:
		reply.Body = openAI(r)
	}
	return reply
}

// Finish tells those who would try again by themselves not to: clients, where the wait is longer than longest (nanoseconds), and a proxy
// in front, whose route retries what fails. Envoy's doesn't retry what says that it is a limit's doing
// (https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/router_filter#x-envoy-ratelimited).
func (r *Reply) Finish(longest int64) {
	said := false
	for _, header := range r.Headers {
		switch header[0] {
		case "retry-after-ms":
			ms, err := strconv.ParseInt(header[1], 10, 64)
			said = said || err == nil && ms > longest/int64(time.Millisecond)
		case "x-should-retry":
			longest = math.MaxInt64
		}
	}
	if said && longest != math.MaxInt64 {
		r.add("x-should-retry", "false")
	}
	if r.Status >= 400 {
		r.add("x-envoy-ratelimited", "true")
	}
}

func (r *Reply) add(name, value string) { r.Headers = append(r.Headers, [2]string{name, value}) }

func openAI(r Refusal) []byte {
	b := append([]byte(nil), `{"error":{"message":`...)
	b = appendString(b, r.Message)
	b = append(b, `,"type":`...)
	b = appendString(b, r.Kind)
	b = append(b, `,"param":null,"code":`...)
	b = appendString(b, r.Code)
	return append(b, `}}`...)
}

// anthropic writes https://docs.anthropic.com/en/api/errors.
func anthropic(r Refusal) []byte {
	kind := "api_error"
	switch r.Status {
	case 400:
		kind = "invalid_request_error"
	case 401:
		kind = "authentication_error"
	case 429:
		kind = "rate_limit_error"
	case 503, 529:
		kind = "overloaded_error"
	}
	b := append([]byte(nil), `{"type":"error","error":{"type":`...)
	b = appendString(b, kind)
	b = append(b, `,"message":`...)
	b = appendString(b, r.Message)
	return append(b, `}}`...)
}

// gemini writes Google's error model: https://cloud.google.com/apis/design/errors.
func gemini(r Refusal) []byte {
	status := "INTERNAL"
	switch r.Status {
	case 400:
		status = "INVALID_ARGUMENT"
	case 401:
		status = "UNAUTHENTICATED"
	case 429:
		status = "RESOURCE_EXHAUSTED"
	case 503, 529:
		status = "UNAVAILABLE"
	}
	b := append([]byte(nil), `{"error":{"code":`...)
	b = strconv.AppendInt(b, int64(r.Status), 10)
	b = append(b, `,"message":`...)
	b = appendString(b, r.Message)
	b = append(b, `,"status":`...)
	b = appendString(b, status)
	return append(b, `}}`...)
}

func dynamo(r Refusal) []byte {
	kind := "service_unavailable"
	if r.Status == 429 {
		kind = "rate_limit_exceeded"
	}
	b := append([]byte(nil), `{"message":`...)
	b = appendString(b, r.Message)
	b = append(b, `,"type":`...)
	b = appendString(b, kind)
	b = append(b, `,"code":`...)
	b = strconv.AppendInt(b, int64(r.Status), 10)
	return append(b, '}')
}

// appendString appends a JSON string (RFC 8259, section 7).
func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', byte(c))
		case c < ' ' || c == 0x7f:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			b = append(b, string(c)...)
		}
	}
	return append(b, '"')
}

// Duration writes nanoseconds as the providers' headers do: "20ms", "1s", "6m0s"; rounded up, to milliseconds below ten
// seconds and to seconds above.
func Duration(ns int64) string {
	d := time.Duration(ns)
	unit := time.Second
	if d < 10*time.Second {
		unit = time.Millisecond
	}
	if ns > math.MaxInt64-int64(unit) {
		return d.String()
	}
	return time.Duration(ceil(ns, int64(unit)) * int64(unit)).String()
}

// Window names a limit's window: "hour", or "90s".
func Window(d time.Duration) string {
	switch d {
	case time.Second:
		return "second"
	case time.Minute:
		return "minute"
	case time.Hour:
		return "hour"
	case 24 * time.Hour:
		return "day"
	}
	return d.String()
}

// ceil is a/b rounded up, for a >= 0.
func ceil(a, b int64) int64 {
	if a <= 0 {
		return 0
	}
	return (a-1)/b + 1
}
