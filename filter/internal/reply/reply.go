// Package reply writes the answers to refused requests: status, headers and an error body in the format of the request's dialect, so
// that the official SDKs turn them into their own rate-limit errors and wait as long as they are told.
//
// It is all text: what was decided comes in (gate.Verdict), bytes go out, into memory that is used again. Nothing a client sent is copied
// without being escaped and cut.
package reply

import (
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/inplace"
)

// Reply is an answer to send instead of asking the upstream. Its memory is used again by the next one of its stream.
type Reply struct {
	Status  int
	Headers [][2]string
	Body    []byte

	text    []byte // what the headers' values are parts of
	message []byte
}

// head begins the answer. The reason is <gate>/<reason>, of low cardinality; wait is until it is worth trying again; 0: not said; gate.Never.
func (r *Reply) head(status int, reason string, wait time.Duration) {
	r.Status, r.Headers = status, r.Headers[:0]
	r.add("content-type", "application/json")
	r.add("x-spillway-reason", reason)
	switch {
	case wait == gate.Never:
		r.add("x-should-retry", "false")
	case wait > 0:
		r.addNumber("retry-after", ceil(wait, time.Second))
		r.addNumber("retry-after-ms", ceil(wait, time.Millisecond))
	}
}

// Say makes it an answer that no gate has given. kind (tokens, requests, server_error, invalid_request_error) and code are in OpenAI's words.
func (r *Reply) Say(format *Format, status int, reason, message, kind, code string) {
	r.head(status, reason, 0)
	r.Body = format.Append(r.Body[:0], status, message, kind, code)
}

// Finish tells those who would try again by themselves not to: clients, where the wait is longer than longest, and a proxy
// in front, whose route retries what fails. Envoy's doesn't retry what says that it is a limit's doing
// (https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/router_filter#x-envoy-ratelimited).
func (r *Reply) Finish(longest time.Duration) {
	wait, unit := r.get("retry-after-ms"), time.Millisecond
	if wait == "" {
		wait, unit = r.get("retry-after"), time.Second
	}
	if wait != "" {
		if n, err := strconv.ParseInt(wait, 10, 64); err == nil && n > int64(longest/unit) && r.get("x-should-retry") == "" {
			r.add("x-should-retry", "false")
		}
	}
	if r.Status >= 400 && r.get("x-envoy-ratelimited") == "" {
		r.add("x-envoy-ratelimited", "true")
	}
}

// Replace makes an answer the configured one. Without a body it keeps its own, an error in the request's dialect; what it says
// of why it was given, and when to come back, stays, unless the headers say another time.
func (r *Reply) Replace(status int, headers map[string]string, body string) {
	r.Status = status
	if at := r.find("retry-after-ms"); at >= 0 && headers["retry-after"] != "" { // clients prefer it
		r.Headers = slices.Delete(r.Headers, at, at+1)
	}
	if body != "" {
		r.Body = append(r.Body[:0], body...)
	}
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		if at := r.find(name); at < 0 {
			r.add(name, headers[name])
		} else {
			r.Headers[at][1] = headers[name]
		}
	}
}

// Keep adds a header of the answer in whose place this one stands, if it had one, and this one hasn't.
func (r *Reply) Keep(name, value string) {
	if value != "" && r.find(name) < 0 {
		r.add(name, value)
	}
}

// find gives a header's place; -1: there is none.
func (r *Reply) find(name string) int {
	for i := range r.Headers {
		if r.Headers[i][0] == name {
			return i
		}
	}
	return -1
}

// get gives a header, "" if there is none.
func (r *Reply) get(name string) string {
	at := r.find(name)
	if at < 0 {
		return ""
	}
	return r.Headers[at][1]
}

func (r *Reply) add(name, value string) { r.Headers = with(r.Headers, name, value) }

// with adds a header, in its place where there is room: to append copies what is made elsewhere.
func with(headers [][2]string, name, value string) [][2]string {
	n := len(headers)
	if n == cap(headers) {
		return append(headers, [2]string{name, value})
	}
	headers = headers[:n+1]
	headers[n][0], headers[n][1] = name, value
	return headers
}

func (r *Reply) addNumber(name string, n int64) {
	from := len(r.text)
	r.text = strconv.AppendInt(r.text, n, 10)
	r.add(name, inplace.String(r.text[from:]))
}
