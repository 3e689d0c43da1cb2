package admit

import (
	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/usage"
)

// What becomes of a request with a body of which it isn't known how it is read (config.Unknown): a server may have more paths than are
// known here, and what they do costs as much.

const nameThePath = "Whoever runs the gateway names the path under operations, with its dialect, or other to let it pass."

// unknown says that a request makes the server do what nobody here knows. The answer is no for those that the configuration lets pass, and
// for what can't cost tokens: preflights, what has no body, and what becomes another protocol.
func (e *Engine) unknown(s *Stream, path string, end bool) bool {
	return s.exchange.Dialect == nil && e.cfg.Unknown != config.UnknownPass && e.cfg.Mode != config.Off && !end && !s.preflight &&
		e.governed(s, end) && e.operations.Unknown(path)
}

// refuseUnknown does what the configuration says about such a request, and says whether it was refused; in shadow mode that is only
// recorded.
func (e *Engine) refuseUnknown(s *Stream, now clock.Moment) bool {
	switch {
	case e.cfg.Unknown == config.UnknownEstimate:
		s.exchange.Dialect = usage.Opaque
		return false
	case !countsTokens(e.cfg):
		return false
	case e.cfg.Mode == config.Shadow:
		if s.wouldRefuse.Gate == "" {
			s.wouldRefuse = gate.Because(gate.Shadowed, gate.Operation, gate.UnknownPath)
		}
		return false
	}
	v := unfit(gate.Operation, gate.UnknownPath, "It isn't known how requests of this path are read, so their tokens can't be counted. "+nameThePath)
	e.refuse(s, now, &v)
	return true
}

// countsTokens says that an enforced limit does.
func countsTokens(c *config.Config) bool {
	for i := range c.Limits {
		if c.Limits[i].Unit.Tokens() && c.Limits[i].Mode == config.Enforce {
			return true
		}
	}
	return false
}
