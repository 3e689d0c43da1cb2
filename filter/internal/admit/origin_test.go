package admit

import "testing"

func TestWhoMadeAnAnswer(t *testing.T) {
	for details, want := range map[string]Origin{
		"via_upstream":                         FromUpstream,
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
		"request_rate_limited":                                                                                Elsewhere,
		"ext_authz_denied":                                                                                    Elsewhere,
		"rate_limiter_error":                                                                                  Elsewhere,
		"cluster_not_found":                                                                                   Elsewhere,
		"direct_response":                                                                                     Elsewhere,
		"":                                                                                                    Elsewhere,
	} {
		if got := OriginOf(details); got != want {
			t.Errorf("%q: got %d, want %d", details, got, want)
		}
	}
}
