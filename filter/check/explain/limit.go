package explain

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spillway-proxy/spillway/config"
)

// limits says who may use how much.
func (t *text) limits(c *config.Config) {
	switch {
	case c.Mode == config.Off:
		t.head("Mode off: nothing is limited, queued or refused; tokens are read and published all the same.")
		return
	case c.Mode == config.Shadow:
		t.head("Mode shadow: nothing is refused. What would be is recorded (decision SHADOW).")
	}
	if len(c.Limits) == 0 {
		t.head("Limits: none. Nobody is held to a quantity.")
		return
	}
	t.head("Limits: a request must pass all that are for it.")
	for i := range c.Limits {
		l := &c.Limits[i]
		mode := l.Mode.Under(c.Mode)
		t.entry("%s: %s%s may %s.%s", l.Name, whose(l, c), matching(&l.Match), may(l), comesBack(l))
		if mode == config.Off {
			t.more("Mode off: it does nothing.")
			continue
		}
		t.more("%s", passes(l))
		t.more("Beyond that a request is %s.", onlySo(mode, fmt.Sprintf("refused: status %d, x-spillway-reason limits/%s, and when to try again", c.StatusCode.Limits, l.Unit.Reason)))
		if l.Scope == config.ScopeFleet {
			t.more("All proxies of the fleet share it, by the service %s; while that doesn't answer, %s.", c.Fleet.Cluster, onDown[c.Fleet.OnDown])
		}
		if l.Nearly.At > 0 {
			t.more("%s", nearly(l, mode))
		}
		if len(l.Refund) > 0 {
			t.more("Answers with status %s cost nothing.", list(statuses(l.Refund), "or"))
		}
	}
}

var onDown = map[string]string{
	config.DownLocal:  "each proxy holds it as if it were alone",
	config.DownRefuse: "what isn't leased is refused",
	config.DownPass:   "what isn't leased passes",
}

// whose says who has a quantity of its own.
func whose(l *config.Limit, c *config.Config) string {
	if len(l.Per) == 0 {
		return "all requests together"
	}
	parts := make([]string, len(l.Per))
	for i, part := range l.Per {
		switch header, is := strings.CutPrefix(part, config.PerHeader); {
		case is:
			parts[i] = "value of the header " + header
		case part == config.PerKey:
			parts[i] = "API key"
		case part == config.PerGroup && len(c.Identity.Groups) > 0:
			parts[i] = fmt.Sprintf("group (%s)", groups(c))
		default:
			parts[i] = part
		}
	}
	if len(parts) > 1 {
		return "each combination of " + list(parts, "and")
	}
	return "each " + parts[0]
}

func groups(c *config.Config) string {
	var names []string
	for _, g := range c.Identity.Groups {
		names = append(names, g.Name)
	}
	return strings.Join(names, ", ")
}

// matching says which requests count; "": all.
func matching(m *config.Match) string {
	var parts []string
	add := func(format, what string) {
		if what != "" {
			parts = append(parts, fmt.Sprintf(format, what))
		}
	}
	add("models %s", anyOf(m.Models))
	add("the operation %s", list(m.Operations, "or"))
	var ranks []string
	for _, p := range m.Priorities {
		ranks = append(ranks, name(p))
	}
	add("priority %s", list(ranks, "or"))
	add("tenants %s", anyOf(m.Tenants))
	add("groups %s", anyOf(m.Groups))
	for _, header := range slices.Sorted(maps.Keys(m.Headers)) {
		add("the header %s", header+": "+m.Headers[header])
	}
	if len(parts) == 0 {
		return ""
	}
	return ", of requests with " + list(parts, "and") + ","
}

// noun is what is counted.
func noun(l *config.Limit) string {
	switch {
	case l.Unit == config.CompletionTokens:
		return "completion tokens"
	case l.Quantity == 1:
		return strings.TrimSuffix(l.Unit.Noun, "s")
	}
	return l.Unit.Noun
}

// amount is a number of what a limit counts.
func amount(l *config.Limit, n int64) string {
	text := string(l.Unit.Append(nil, n))
	if l.Unit.Money() {
		return "$" + text
	}
	return text
}

func may(l *config.Limit) string {
	switch {
	case l.Unit.Charged == config.Never:
		return fmt.Sprintf("have %s under way at once", count(l.Quantity, "request"))
	case l.Unit.Money():
		return fmt.Sprintf("spend %s %s", amount(l, l.Quantity), period(l))
	case l.Unit.Counts == config.CountsRequests:
		return fmt.Sprintf("send %d %s %s", l.Quantity, noun(l), period(l))
	}
	return fmt.Sprintf("use %d %s %s", l.Quantity, noun(l), period(l))
}

func period(l *config.Limit) string {
	switch {
	case l.Lifetime:
		return "in all"
	case l.Calendar != "":
		return "each " + string(l.Calendar)
	}
	return each(l.Window)
}

// comesBack says how a quantity does.
func comesBack(l *config.Limit) string {
	switch {
	case l.Unit.Charged == config.Never:
		return ""
	case l.Lifetime:
		return fmt.Sprintf(" Nothing comes back, but who uses nothing for %s begins anew.", span(l.Idle))
	case l.Scope == config.ScopeFleet:
		return " All of it comes back when the next window of the service's begins, in UTC."
	case l.Refill == config.RefillWindow && l.Calendar != "":
		return fmt.Sprintf(" All of it comes back when the next %s begins, %s.", l.Calendar, zone(l.Zone))
	case l.Refill == config.RefillWindow:
		return fmt.Sprintf(" All of it comes back when the next %s begin.", span(l.Window))
	case l.Burst < l.Quantity:
		return fmt.Sprintf(" It flows back evenly; at most %s at once.", amount(l, l.Burst))
	case l.Burst > l.Quantity:
		return fmt.Sprintf(" It flows back evenly; who has saved up may use %s at once.", amount(l, l.Burst))
	}
	return " It flows back evenly."
}

func zone(ahead time.Duration) string {
	if ahead == 0 {
		return "in UTC"
	}
	sign := "+"
	if ahead < 0 {
		sign, ahead = "-", -ahead
	}
	return fmt.Sprintf("at UTC%s%02d:%02d", sign, int(ahead.Hours()), int(ahead.Minutes())%60)
}

// passes says when a request does.
func passes(l *config.Limit) string {
	switch {
	case l.Unit.Charged == config.Never:
		return "A request counts from its admission to its end, while it waits, too."
	case l.Unit.Counts == config.CountsRequests:
		return "A request counts as it goes to the upstream."
	case l.Admission == config.Strict:
		return "A request passes only if all that it is expected to use is left; it is charged for what it used."
	}
	return "A request passes while anything is left, and is charged for what it used, which may leave a debt."
}

// nearly says what becomes of requests while little is left.
func nearly(l *config.Limit, mode config.Mode) string {
	var does []string
	if headers := l.Nearly.RequestHeader; len(headers) > 0 {
		var set []string
		for _, name := range slices.Sorted(maps.Keys(headers)) {
			set = append(set, name+": "+headers[name])
		}
		does = append(does, "gets "+list(set, "and")+", and its route is chosen again")
	}
	if l.Nearly.ResponseHeader {
		does = append(does, "has its answer carry x-spillway-nearly: "+l.Name)
	}
	if len(does) == 0 || mode == config.Shadow {
		does = []string{"is counted in spillway_nearly_total"}
	}
	return fmt.Sprintf("From %s %% of it on a request that passes %s.", strconv.FormatFloat(l.Nearly.At*100, 'f', -1, 64), list(does, "and"))
}

// statuses are what a list of them stands for.
func statuses(of []config.Statuses) (words []string) {
	for _, s := range of {
		first, last := 0, 0
		for status := 400; status < 600; status++ {
			if s.Contains(status) {
				if first == 0 {
					first = status
				}
				last = status
			}
		}
		if last-first == 99 {
			words = append(words, fmt.Sprintf("%dxx", first/100))
		} else {
			words = append(words, fmt.Sprint(first))
		}
	}
	return words
}
