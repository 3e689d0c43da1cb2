package health

import (
	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/breaker"
	"github.com/spillway-proxy/spillway/filter/internal/latency"
	"github.com/spillway-proxy/spillway/filter/internal/throttle"
)

// Settings are the gates of one upstream; nil is off.
type Settings struct {
	Breaker  *breaker.Settings
	Latency  *latency.Settings
	Throttle *throttle.Settings
	Global   bool     // the latency of all models is measured together
	Models   []string // those that the configuration names: they find a place before all others

	// A gate that is not enforced is in shadow mode.
	enforceBreaker, enforceLatency, enforceThrottle bool
}

// NewSettings translates the configuration. mode is that of the plugin, the ceiling of each gate's own.
func NewSettings(u *config.Upstream, mode config.Mode) Settings {
	var s Settings
	if own := u.Breaker.Mode.Under(mode); own != config.Off {
		c := breaker.NewSettings(&u.Breaker)
		s.Breaker, s.enforceBreaker = &c, own == config.Enforce
	}
	if own := u.Latency.Mode.Under(mode); own != config.Off {
		c := latency.NewSettings(&u.Latency)
		s.Latency, s.enforceLatency = &c, own == config.Enforce
		s.Global = u.Latency.Per == config.LatencyGlobal
	}
	if own := u.Throttle.Mode.Under(mode); own != config.Off {
		c := throttle.NewSettings(&u.Throttle)
		s.Throttle, s.enforceThrottle = &c, own == config.Enforce
	}
	return s
}

// Any says that at least one gate is on.
func (s *Settings) Any() bool { return s.Breaker != nil || s.Latency != nil || s.Throttle != nil }
