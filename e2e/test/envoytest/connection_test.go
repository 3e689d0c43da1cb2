package envoytest

import (
	"net/http"
	"net/http/httptrace"
	"strings"
	"testing"
)

// keepConnection checks that a client whose requests are refused, by their headers alone or by their bodies, keeps its connection: a new one for
// each would cost more than all else of a refusal.
func keepConnection(t *testing.T, g *gateway) {
	for _, unit := range []string{"requests", "completionTokens"} {
		reconfigure(t, g, `{"requestHold":"stopIteration","limits":[{"name":"kept","per":["user"],"unit":"`+unit+`","quantity":1,"window":"1h"}]}`)
		const refusals = 10
		who, made := "keeper-"+unit, 0
		wantStatus(t, g.chat(t, user(who, "traceparent", who)), http.StatusOK)
		g.logged(t, who)
		for range refusals {
			r := newRequest(t, http.MethodPost, g.URL+chatPath, user(who), strings.NewReader(chatBody))
			r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) {
				if !c.Reused {
					made++
				}
			}}))
			wantStatus(t, g.do(t, r), http.StatusTooManyRequests)
		}
		if made > refusals/2 { // a busy machine may be too slow for one or another
			t.Errorf("%s: %d connections for %d refusals", unit, made, refusals)
		}
	}
}
