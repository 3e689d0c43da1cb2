package admit

import (
	"strconv"
	"strings"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/config/filterstate"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/origin"
	"github.com/spillway-proxy/spillway/filter/internal/reply"
)

// What other filters of the proxy answer themselves, behind this one.

// answeredByFleet says that the response was the refusal of Envoy's ratelimit filter, and has been replaced.
func (e *Engine) answeredByFleet(s *Stream, now clock.Moment) bool {
	if s.exchange.Origin != origin.OverLimit || e.cfg.Mode == config.Shadow {
		return false
	}
	e.refuseForFleet(s, now)
	return true
}

// refuseForFleet puts an answer of ours in the place of the one that Envoy's ratelimit filter gives: that knows neither the API's form of
// errors nor clients' ways to be told when to come back. What the filter knows of its limit it says in headers, if it is set up so (enable_x_ratelimit_headers);
// they are kept.
func (e *Engine) refuseForFleet(s *Stream, now clock.Moment) {
	e.guard.holding.remove(s)
	v := gate.Because(gate.Rejected, gate.Limits, gate.FleetOver)
	limit := s.response.Get(e.slots.limit)
	e.fleetLimit = parsePolicy(limit)
	if quantity := number(e.fleetLimit.Quantity); quantity >= 0 {
		v.Threshold = float64(quantity)
	}
	reset := number(s.response.Get(e.slots.limitReset))
	if reset < 0 {
		reset = number(s.response.Get(e.slots.retryAfter))
	}
	const mostSeconds = 366 * 24 * 3600 // the service's longest window
	if reset >= 0 && reset <= mostSeconds {
		v.Wait = max(time.Duration(reset)*time.Second, time.Second)
	}
	e.refuse(s, now, &v)
	if e.fleetLimit.Name != "" {
		e.out.set(s, filterstate.Limit, e.fleetLimit.Name)
	}
	s.reply.Keep("x-ratelimit-limit", limit)
	s.reply.Keep("x-ratelimit-remaining", s.response.Get(e.slots.limitRemaining))
	s.reply.Keep("x-ratelimit-reset", s.response.Get(e.slots.limitReset))
	e.fleetLimit = reply.FleetLimit{}
}

// parsePolicy reads x-ratelimit-limit as Envoy writes it, which is the draft's third version: the quantity of the limit that has least left, and then all of them
// (https://datatracker.ietf.org/doc/html/draft-polli-ratelimit-headers-03): 300, 300;w=3600;name="user-tokens", 10;w=60
func parsePolicy(header string) (l reply.FleetLimit) {
	quantity, policies, _ := strings.Cut(header, ",")
	l.Quantity = strings.TrimSpace(quantity)
	for policies != "" {
		var policy string
		policy, policies, _ = strings.Cut(policies, ",")
		of, parameters, _ := strings.Cut(strings.TrimSpace(policy), ";")
		if of != l.Quantity {
			continue
		}
		for parameters != "" {
			var parameter string
			parameter, parameters, _ = strings.Cut(parameters, ";")
			if seconds, is := strings.CutPrefix(parameter, "w="); is {
				n, _ := strconv.ParseUint(seconds, 10, 32)
				l.Window = time.Duration(n) * time.Second
			} else if name, is := strings.CutPrefix(parameter, "name="); is {
				l.Name = strings.Trim(name, `"`)
			}
		}
		break
	}
	return l
}

// adviseRetry makes another filter's refusal say what ours do: how long to wait, where it tells that as Envoy's
// ratelimit filter does, and that clients are not to sit out by themselves what is too long for that.
func (e *Engine) adviseRetry(s *Stream) {
	after := s.response.Get(e.slots.retryAfter)
	if after == "" {
		if after = s.response.Get(e.slots.limitReset); number(after) < 0 {
			return
		}
		e.out.setResponseHeader(s, "retry-after", after)
	}
	if number(after) > int64(e.cfg.Retry.Longest/time.Second) && s.response.Get(e.slots.shouldRetry) == "" {
		e.out.setResponseHeader(s, "x-should-retry", "false")
	}
}
