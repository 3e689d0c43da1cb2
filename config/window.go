package config

import (
	"cmp"
	"time"
)

// A limit's window is a duration or a word, and what its refill is and may be follows from that.

// window is the field of a limit's window.
func (l *Limit) window(name, doc string) field {
	read := scalar[string]{new(string), "", textKind{windows}}
	return field{name: name, doc: docOf(doc), value: assigned{read,
		func(text string) { l.Calendar, l.Window, _ = windowOf(text) },
		func() string { return cmp.Or(string(l.Calendar), brief(l.Window)) }}}
}

// windowOf reads a window.
func windowOf(text string) (calendar Calendar, length time.Duration, ok bool) {
	for _, c := range calendars {
		if text == string(c.name) {
			return c.name, c.length, true
		}
	}
	length, problem := durationKind{min: time.Second, max: longest}.parse(&jsonValue{kind: isString, text: text})
	return "", length, problem == ""
}

// finishWindow derives what the window comes to.
func (l *Limit) finishWindow(r *reader, path string) {
	zone, _ := zoneOffset(l.timezone)
	l.Zone = time.Duration(zone) * time.Second
	fleet := l.Scope == ScopeFleet
	switch {
	case l.Window == 0:
		l.Refill = ""
	case fleet && l.Refill == RefillContinuous:
		r.problem(join(path, "refill"), string(l.Refill), "a limit of the fleet comes back when a window begins; leave refill out")
	case fleet && zone != 0:
		r.problem(join(path, "timezone"), quote(l.timezone), "the fleet's service counts in UTC; leave timezone out")
	case l.Calendar != "" && l.Refill == RefillContinuous:
		r.problem(join(path, "refill"), string(l.Refill), "the calendar's windows begin and end; want refill left out, or a window that is a duration")
	case l.Calendar != "":
		l.Refill = RefillWindow
	case l.timezone != "":
		r.problem(join(path, "timezone"), quote(l.timezone), "a duration has no time zone; want timezone left out, or hour, day, week or month")
	case fleet:
		l.Refill = RefillWindow
	case l.Refill == "":
		l.Refill = RefillContinuous
	case l.Refill == RefillWindow && l.Window%time.Second != 0:
		r.problem(join(path, "window"), quote(brief(l.Window)), "want whole seconds with refill: window")
	}
	if l.Refill == RefillWindow && !fleet && l.Burst > 0 && l.Burst != l.Quantity {
		r.problem(join(path, "burst"), string(l.Unit.Append(nil, l.Burst)), "all of the quantity comes back at once; want burst left out")
	}
}
