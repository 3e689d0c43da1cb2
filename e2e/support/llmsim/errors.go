package llmsim

import (
	"net/http"
	"strconv"
	"time"
)

// apiError is an error answer.
type apiError struct {
	status  int
	kind    string // "type" in JSON; empty follows from the status
	param   string
	code    string
	message string
}

func badRequest(param, message string) *apiError {
	return &apiError{status: http.StatusBadRequest, param: param, message: message}
}

// knownErrors are the messages, types and codes that OpenAI gives with a status.
var knownErrors = map[int]apiError{
	http.StatusBadRequest:          {kind: "invalid_request_error", message: "simulated bad request"},
	http.StatusUnauthorized:        {kind: "invalid_request_error", code: "invalid_api_key", message: "incorrect API key provided"},
	http.StatusForbidden:           {kind: "permission_error", message: "simulated lack of permission"},
	http.StatusNotFound:            {kind: "invalid_request_error", code: "model_not_found", param: "model", message: "the model does not exist"},
	http.StatusTooManyRequests:     {kind: "requests", code: "rate_limit_exceeded", message: "rate limit reached for requests per min (RPM)"},
	http.StatusInternalServerError: {kind: "server_error", message: "the server had an error while processing the request"},
	http.StatusServiceUnavailable:  {kind: "server_error", code: "service_unavailable", message: "the engine is overloaded, please try again later"},
}

// append appends it in OpenAI's form.
func (e *apiError) append(b []byte) []byte {
	kind := e.kind
	if kind == "" {
		kind = "invalid_request_error"
		if e.status >= 500 {
			kind = "server_error"
		}
	}
	b = append(b, `{"error":{"message":`...)
	b = appendJSONString(b, e.message)
	b = append(b, `,"type":`...)
	b = appendJSONString(b, kind)
	b = append(b, `,"param":`...)
	b = appendStringOrNull(b, e.param)
	b = append(b, `,"code":`...)
	b = appendStringOrNull(b, e.code)
	return append(b, `}}`...)
}

func appendStringOrNull(b []byte, s string) []byte {
	if s == "" {
		return append(b, "null"...)
	}
	return appendJSONString(b, s)
}

// fail answers with an error.
func (c *call) fail(e *apiError) error {
	c.failed = true
	switch b := c.buf.out[:0]; {
	case c.endpoint == messages:
		c.buf.out = e.appendAnthropic(b)
	case c.endpoint.ollama():
		c.buf.out = e.appendOllama(b)
	default:
		c.buf.out = e.append(b)
	}
	return c.body(e.status, c.buf.out)
}

// scriptedError answers as x-sim-status asks. It takes no slot, as an engine or a
// proxy in front of one refuses before it generates.
func (c *call) scriptedError() error {
	c.pace.start()
	if err := c.pace.hang(c.script.hang); err != nil {
		return err
	}
	if c.script.ttftSet {
		if err := c.pace.wait(c.script.ttft); err != nil {
			return err
		}
	}
	e, ok := knownErrors[c.script.status]
	if !ok {
		e.message = "simulated error"
	}
	e.status = c.script.status
	retry := c.script.retryAfter
	if e.status == http.StatusTooManyRequests {
		if retry == unset {
			retry = 1
		}
		h := c.w.Header()
		reset := time.Duration(retry) * time.Second
		setRateLimit(h, max(c.s.opts.RPM, 60), 0, reset)
		h.Set("X-Ratelimit-Limit-Tokens", "150000")
		h.Set("X-Ratelimit-Remaining-Tokens", "149984")
		h.Set("X-Ratelimit-Reset-Tokens", "6ms")
	}
	if retry != unset {
		c.w.Header().Set("Retry-After", strconv.Itoa(retry))
	}
	return c.fail(&e)
}

// rateLimited counts the request against RPM, and returns the error of one above it.
func (c *call) rateLimited() *apiError {
	limit := c.s.opts.RPM
	if limit == 0 {
		return nil
	}
	remaining, reset, ok := c.s.limit.take(c.began)
	h := c.w.Header()
	setRateLimit(h, limit, remaining, reset)
	if ok {
		return nil
	}
	retry := c.script.retryAfter
	if retry == unset {
		retry = wholeSeconds(reset)
	}
	h.Set("Retry-After", strconv.Itoa(retry))
	e := knownErrors[http.StatusTooManyRequests]
	e.status = http.StatusTooManyRequests
	return &e
}
