package admit

import "strings"

// Origin is who made the response that begins, and what the upstream had of its request.
type Origin uint8

// The origins.
const (
	FromUpstream Origin = iota // it is the upstream's own, or the host can't tell
	TimedOut                   // the proxy's own: the upstream had the request, and took too long
	Broken                     // the proxy's own: the upstream had the request, and broke off before its response began
	Unreachable                // the proxy's own: there is no upstream to be had, and none had the request
	Elsewhere                  // another filter's, or the proxy's own for a reason of its own: the upstream never had the request
)

// OriginOf reads Envoy's response.code_details of an answer 429 or 5xx:
// https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/response_code_details
func OriginOf(details string) Origin {
	const reset = "upstream_reset_before_response_started"
	switch details {
	case "via_upstream":
		return FromUpstream
	case "no_healthy_upstream":
		return Unreachable
	case "response_timeout", "upstream_per_try_timeout", "upstream_per_try_idle_timeout", "stream_idle_timeout",
		"max_duration_timeout", "upstream_max_stream_duration_reached":
		return TimedOut
	}
	if reason, is := strings.CutPrefix(details, reset); is {
		// {remote_connection_failure|...}, {local_connection_failure}, {connection_timeout}, and of Envoy's own circuit breaker
		// {overflow}; what else resets a stream, such as {connection_termination}, happens to one that is open.
		for _, never := range []string{"connection_failure", "connection_timeout", "overflow"} {
			if strings.Contains(reason, never) {
				return Unreachable
			}
		}
		return Broken
	}
	if strings.HasPrefix(details, "upstream_") {
		return Broken
	}
	return Elsewhere
}

// Origin says who made the response that begins. Without it, it is the upstream's.
func (s *Stream) Origin(o Origin) { s.origin = o }

// foreign says that the response is not the upstream's, nor the proxy's for want of one: it says nothing of the upstream.
func (s *Stream) foreign() bool { return s.origin == Elsewhere }
