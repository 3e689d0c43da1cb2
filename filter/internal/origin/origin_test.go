package origin

import (
	"strings"
	"testing"
)

func TestWhoMadeAnAnswer(t *testing.T) {
	for details, want := range map[string]Origin{
		"via_upstream":                         Upstream,
		"response_timeout":                     TimedOut,
		"upstream_per_try_timeout":             TimedOut,
		"upstream_per_try_idle_timeout":        TimedOut,
		"stream_idle_timeout":                  TimedOut,
		"max_duration_timeout":                 TimedOut,
		"upstream_max_stream_duration_reached": TimedOut,
		"no_healthy_upstream":                  Unreachable,
		"upstream_reset_before_response_started{connection_failure}":                                          Unreachable,
		"upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_111}":        Unreachable,
		"upstream_reset_before_response_started{local_connection_failure,TLS_error:_certificate_has_expired}": Unreachable,
		"upstream_reset_before_response_started{connection_timeout}":                                          Unreachable,
		"upstream_reset_before_response_started{overflow}":                                                    Unreachable,
		"upstream_reset_before_response_started{connection_termination}":                                      Broken,
		"upstream_reset_before_response_started{remote_reset}":                                                Broken,
		"upstream_reset_before_response_started{protocol_error}":                                              Broken,
		"upstream_reset_before_response_started":                                                              Broken,
		"upstream_something_that_is_new":                                                                      Broken,
		"request_rate_limited":                                                                                OverLimit,
		"ext_authz_denied":                                                                                    Elsewhere,
		"rate_limiter_error":                                                                                  FleetDown,
		"cluster_not_found":                                                                                   NoRoute,
		"route_not_found":                                                                                     NoRoute,
		"request_payload_too_large":                                                                           TooLarge,
		"request_payload_exceeded_retry_buffer_limit":                                                         TooLarge,
		"maintenance_mode":                                                                                    Unreachable,
		"request_overall_timeout":                                                                             TimedOut,
		"direct_response":                                                                                     Elsewhere,
		"":                                                                                                    Elsewhere,
	} {
		if got := Of("503", details); got != want {
			t.Errorf("%q: got %d, want %d", details, got, want)
		}
	}
	for details, want := range map[string]Origin{
		"stream_idle_timeout": Unfinished, "max_duration_timeout": Unfinished, "request_overall_timeout": Unfinished, "via_upstream": Upstream, "ext_authz_denied": Elsewhere,
	} {
		if got := Of("408", details); got != want {
			t.Errorf("408 %q: got %d, want %d", details, got, want)
		}
	}
}

func TestOnlyWhatTheUpstreamNeverHadIsSpared(t *testing.T) {
	for o, want := range map[Origin]bool{Upstream: false, TimedOut: false, Broken: false, Unreachable: true, Elsewhere: true, OverLimit: true,
		NoRoute: true, TooLarge: true, FleetDown: true, Unfinished: false} {
		if o.Spares() != want {
			t.Errorf("origin %d: got %t", o, !want)
		}
		if foreign := want && o != Unreachable || o == Unfinished; o.Foreign() != foreign {
			t.Errorf("origin %d is foreign: got %t", o, !foreign)
		}
	}
}

func TestWhichAnswersAreWithoutAWord(t *testing.T) {
	for _, c := range []struct {
		status, contentType string
		want                bool
	}{
		{"404", "", true}, {"413", "text/plain", true}, {"408", "text/plain", true}, {"408", "", false}, {"408", "application/json", false}, {"404", "application/json", false}, {"404", "text/plain", false}, {"413", "", false},
		{"413", "application/json", false}, {"400", "", false}, {"200", "", false}, {"", "", false},
	} {
		if Wordless(c.status, c.contentType) != c.want {
			t.Errorf("%s %q: got %t", c.status, c.contentType, !c.want)
		}
	}
}

func TestWhichAnswersCouldCountAgainstTheUpstream(t *testing.T) {
	for status, want := range map[string]bool{
		"200": false, "302": false, "400": false, "408": false, "422": false, "428": false, "429": true, "499": false,
		"500": true, "502": true, "503": true, "504": true, "529": true, "599": true, "": false, "0": false,
	} {
		if Counts(status) != want {
			t.Errorf("%q: got %t", status, !want)
		}
	}
}

func TestWhichAnswersMentionLimits(t *testing.T) {
	for name, want := range map[string]bool{
		"x-ratelimit-remaining-requests":         true,
		"x-ratelimit-limit-tokens":               true,
		"anthropic-ratelimit-requests-remaining": true,
		"x-envoy-ratelimit-x":                    true,
		"ratelimit-remaining":                    false,
		"x-ratelimit-":                           false,
		"x-ratelimited":                          false,
		"x-request-id":                           false,
		"":                                       false,
	} {
		if got := MentionsLimits([][2]string{{":status", "200"}, {name, "1"}}); got != want {
			t.Errorf("%q: got %t", name, got)
		}
	}
	if MentionsLimits(nil) {
		t.Error("an answer without headers mentions limits")
	}
}

func TestWhichStreamsBeginAnew(t *testing.T) {
	for details, want := range map[string]bool{
		"internal_redirect": true, "via_upstream": false, "downstream_remote_disconnect": false, "": false, "internal_redirects": false,
	} {
		if BeginsAnew(details) != want {
			t.Errorf("%q: got %t", details, !want)
		}
	}
}

func TestWhoBrokeAnAnswerOff(t *testing.T) {
	for flags, want := range map[string]bool{
		"\x10\x00\x00\x00\x00\x00\x00\x00":     true,  // UR
		"\x40\x00\x00\x00\x00\x00\x00\x00":     true,  // UC
		"\x00\x00\x80\x00\x00\x00\x00\x00":     true,  // UPE
		"\x44\x00\x00\x00\x00\x00\x00\x00":     true,  // UC and UT
		"\x04\x00\x00\x00\x00\x00\x00\x00":     false, // UT: a client that reads slowly brings it about
		"\x00\x40\x00\x00\x00\x00\x00\x00":     false, // DC: the client left
		"\x00\x00\x00\x00\x10\x00\x00\x00":     false, // a flag far above
		"\x00\x00\x00\x00\x00\x00\x00\x10":     false, // a number the other way round
		"\x00\x00\x00\x00\x00\x00\x00\x00":     false,
		"\x10\x00\x00\x00":                     false, // not a number of eight bytes
		"\x10\x00\x00\x00\x00\x00\x00\x00\x00": false,
		"UR":                                   false,
		"":                                     false,
		strings.Repeat("\xff", 8):              true,
	} {
		if Torn(flags) != want {
			t.Errorf("%q: got %t", flags, !want)
		}
	}
}
