package config

import (
	"strconv"
	"time"
)

// Scope says who shares a limit's quantity.
type Scope = string

// The scopes.
const (
	ScopeProxy Scope = "proxy" // the workers of one proxy
	ScopeFleet Scope = "fleet" // all proxies whose Fleet is the same service and domain
)

// Fleet is the service that counts for limits of the fleet, envoyproxy/ratelimit.
type Fleet struct {
	Cluster, Authority, Domain string
	Timeout                    time.Duration // the longest that a request waits for a lease
	OnDown                     string        // one of the following
}

// What becomes of a request for which no lease is left, while the service doesn't answer.
const (
	DownLocal  = "local"  // the limit is this proxy's own until it answers
	DownRefuse = "refuse" // it is refused
	DownPass   = "pass"   // it passes
)

// fleetMost is the greatest quantity that the service takes. Of money it counts thousandths of a dollar.
const (
	fleetMost  = 1<<32 - 1
	fleetPart  = Dollar / 1000
	fleetMoney = fleetMost / 1000 * Dollar
)

// FleetQuantity is the quantity of a limit of the fleet as the service counts it.
func (l *Limit) FleetQuantity() int64 {
	if l.Unit.Money() {
		return l.Quantity / fleetPart
	}
	return l.Quantity
}

// FleetUnit is the service's name of the window of a limit of the fleet; "": it has none.
func (l *Limit) FleetUnit() string {
	switch l.Window {
	case time.Minute:
		return "MINUTE"
	case time.Hour:
		return "HOUR"
	case day:
		return "DAY"
	case 30 * day:
		return "MONTH"
	}
	return ""
}

func (f *Fleet) fields() []field {
	return []field{
		str("cluster", &f.Cluster, "ratelimit", someText, "Envoy cluster of the service's HTTP port."),
		str("authority", &f.Authority, "ratelimit", someText, "Host header of the requests to it."),
		str("domain", &f.Domain, "llm", names, "The domain that the service counts in. A file of the service's has to name it; it needs no descriptors."),
		duration("timeout", &f.Timeout, 100*time.Millisecond, time.Millisecond, 10*time.Second,
			"The longest that a request waits where nothing is left of what its proxy has leased. While there is something, none waits."),
		str("onDown", &f.OnDown, DownLocal, word(DownLocal, DownRefuse, DownPass),
			"What becomes of a request for which nothing is left, while the service doesn't answer: local holds it to the limit as if this proxy were all of the "+
				"fleet; refuse refuses it; pass lets it pass. What is used meanwhile is added to the fleet's count when the service answers again, if that is in the same window."),
	}
}

// checkFleet reports what a limit of the fleet can't have.
func (l *Limit) checkFleet(r *reader, path string) {
	if l.Scope != ScopeFleet || l.Unit == nil {
		return
	}
	switch {
	case l.Lifetime:
		r.problem(join(path, "scope"), l.Scope, "a lifetime is counted by each proxy; leave scope out, or lifetime")
	case l.Unit.Charged == Never:
		r.problem(join(path, "scope"), l.Scope, "what is under way is counted by each proxy; leave scope out, or choose another unit")
	case l.FleetUnit() == "":
		r.problem(join(path, "window"), quote(brief(l.Window)), "the fleet's service has no such window; want 1m, 1h, 24h or 720h")
	case l.Unit.Money() && (l.Quantity%fleetPart != 0 || l.Quantity > fleetMoney):
		r.problem(join(path, "quantity"), string(l.Unit.Append(nil, l.Quantity)), "the fleet's service counts thousandths of a dollar; want whole ones, and at most "+
			string(AppendDollars(nil, fleetMoney))+" dollars")
	case l.FleetQuantity() > fleetMost:
		r.problem(join(path, "quantity"), strconv.FormatInt(l.Quantity, 10), "more than the fleet's service counts; want at most "+strconv.FormatInt(fleetMost, 10))
	case l.Burst != l.Quantity:
		r.problem(join(path, "burst"), string(l.Unit.Append(nil, l.Burst)), "a limit of the fleet comes back when a window begins; leave burst out")
	}
}

// Fleets says that a limit is the fleet's.
func (c *Config) Fleets() bool {
	for i := range c.Limits {
		if c.Limits[i].Scope == ScopeFleet {
			return true
		}
	}
	return false
}
