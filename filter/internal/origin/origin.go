// Package origin tells who made an answer, and who broke it off. A status alone doesn't: 429 and 5xx also come from filters behind this one (a
// rate limit of the whole fleet's, an authorization) and from the proxy itself, and neither is the upstream's doing. The host knows, and says
// so in two of its attributes, which are read here as Envoy writes them:
// https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/advanced/attributes
//
// To ask the host costs a call, so Counts, Wordless and MentionsLimits say of which answers it matters.
//
// Worst moments: a host that has no such attributes, or whose words are not known. Without an attribute nobody asks this package, and the
// answer is the upstream's. Words that are not known, but begin as those of upstreams do, mean that it broke off; all others, that it never
// had the request: what counts for nothing can't open a breaker.
package origin

import "strings"

// Origin is who made an answer, and what the upstream had of its request.
type Origin uint8

// The origins.
const (
	Upstream    Origin = iota // it is the upstream's own, or the host can't tell
	TimedOut                  // the proxy's own: the upstream had the request, and took too long
	Broken                    // the proxy's own: the upstream had the request, and broke off before its response began
	Unreachable               // the proxy's own: there is no upstream to be had, and none had the request
	Elsewhere                 // another filter's, or the proxy's own for a reason of its own: the upstream never had the request
	OverLimit                 // the refusal of Envoy's ratelimit filter, by a limit over all proxies: as Elsewhere
	NoRoute                   // the proxy's own: it doesn't know where to send the request: as Elsewhere
	TooLarge                  // the proxy's own: it doesn't take so large a body: as Elsewhere
	FleetDown                 // of Envoy's ratelimit filter, whose service couldn't be asked: as Elsewhere
	Unfinished                // the proxy's own: the rest of the request didn't come in time. The upstream may have had the beginning
)

// Spares says that the upstream never had the request.
func (o Origin) Spares() bool { return o >= Unreachable && o != Unfinished }

// Foreign says that the answer is neither the upstream's nor for want of one.
func (o Origin) Foreign() bool { return o >= Elsewhere }

// Of reads the attribute response.code_details of an answer of the status that Counts, is Wordless, or mentions limits:
// https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/response_code_details
func Of(status, details string) Origin {
	const reset = "upstream_reset_before_response_started"
	switch details {
	case "via_upstream":
		return Upstream
	case "request_rate_limited":
		return OverLimit
	case "rate_limiter_error":
		return FleetDown
	case "no_healthy_upstream", "maintenance_mode":
		return Unreachable
	case "route_not_found", "cluster_not_found":
		return NoRoute
	case "request_payload_too_large", "request_payload_exceeded_retry_buffer_limit":
		return TooLarge
	case "response_timeout", "upstream_per_try_timeout", "upstream_per_try_idle_timeout", "stream_idle_timeout",
		"max_duration_timeout", "upstream_max_stream_duration_reached", "request_overall_timeout":
		if status == "408" { // so the host answers a request that isn't complete
			return Unfinished
		}
		return TimedOut
	}
	if reason, is := strings.CutPrefix(details, reset); is {
		// {remote_connection_failure|...}, {local_connection_failure}, {connection_timeout}, and of Envoy's own circuit breaker
		// {overflow}; what else resets a stream, such as {connection_termination}, happens to one that is open.
		for _, never := range [...]string{"connection_failure", "connection_timeout", "overflow"} {
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

// Counts says that an answer of the status could count against the upstream: it matters who made it.
func Counts(status string) bool { return status == "429" || strings.HasPrefix(status, "5") }

// Wordless says that an answer could be the proxy's own to a request that it doesn't take: no API answers so, without a word or in plain text.
func Wordless(status, contentType string) bool {
	return status == "404" && contentType == "" || (status == "413" || status == "408") && contentType == "text/plain"
}

// MentionsLimits says that an answer tells of limits, whosever they are: what it says of the upstream's is believed only if it is the upstream's.
// Names of headers are in lower case.
func MentionsLimits(headers [][2]string) bool {
	for i := range headers { // x-ratelimit-..., anthropic-ratelimit-...
		if name := headers[i][0]; len(name) > 12 && (name[0] == 'x' || name[0] == 'a') && strings.Contains(name, "ratelimit-") {
			return true
		}
	}
	return false
}

// BeginsAnew reads the attribute response.code_details of a stream that has ended without an answer: the host has ended it to run its
// filters again for the same request.
func BeginsAnew(details string) bool { return details == "internal_redirect" }

// Envoy's response flags that tell of an upstream, as bits of the attribute response.flags:
// https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage#response-flags
const (
	upstreamReset         = 1 << 4  // UR
	upstreamTermination   = 1 << 6  // UC
	upstreamProtocolError = 1 << 23 // UPE: a chunked body without its end is one
)

// Torn reads the attribute response.flags, a number of eight bytes, the lowest first, of a stream that has ended before its answer did: the
// upstream broke the answer off. What a client can bring about by reading slowly, such as a timeout, is not that.
func Torn(flags string) bool {
	if len(flags) != 8 {
		return false
	}
	var bits uint64
	for i := range len(flags) {
		bits |= uint64(flags[i]) << (8 * i)
	}
	return bits&(upstreamReset|upstreamTermination|upstreamProtocolError) != 0
}
