package usage

import (
	"github.com/spillway-proxy/spillway/filter/internal/inplace"
	"github.com/spillway-proxy/spillway/filter/internal/jsonscan"
)

// A server that has begun a stream can't answer with a status any more, and sends an error in place of an event. What it
// would have answered matters: a failing server is not charged for.

const maxErrorCode = 64 // bytes of an error's code that are kept

const (
	http400 = 400
	http429 = 429
	http500 = 500
	http503 = 503
)

// statuses are the statuses of the errors that servers name by a word.
var statuses = map[string]int{
	"rate_limit_exceeded":   http429, // OpenAI
	"rate_limit_error":      http429, // Anthropic
	"insufficient_quota":    http429,
	"overloaded_error":      http503, // Anthropic
	"service_unavailable":   http503,
	"server_error":          http500,
	"api_error":             http500,
	"invalid_request_error": http400,
	"invalid_prompt":        http400,
}

// failed takes an error's code or type: a status, or a word for one. Any other error counts as the server's fault.
func (d *document) failed(v value) {
	switch v.kind {
	case jsonscan.Number:
		if n := v.count(); n >= 400 && n <= 599 {
			d.fail(int(n))
			return
		}
	case jsonscan.String:
		if n, ok := jsonscan.Int(v.text); ok && n >= 400 && n <= 599 {
			d.fail(int(n))
			return
		}
		if status, known := statuses[inplace.String(v.text)]; known {
			d.fail(status)
			return
		}
	case jsonscan.Null:
		return
	}
	d.fail(http500)
}

// fail notes a failure. What is more definite than a fault of the server stands.
func (d *document) fail(status int) {
	if d.failure == 0 || d.failure == http500 {
		d.failure = status
	}
}
