package config

import (
	"strconv"
	"strings"
	"time"
)

// Action is what is to become of one subject of a limit: exactly one of Reset, Grant and Quantity.
type Action struct {
	Reset    bool          // what it has used is forgotten
	Grant    int64         // units beside what the limit gives, for a time; of money billionths of a dollar
	Quantity int64         // in the place of the limit's, for a time
	For      time.Duration // how long that is
	Until    int64         // or until when, in nanoseconds since 1970; 0: For says
	until    string
	unit     *Unit
}

// ParseAction reads an action, JSON, on a limit of a unit. The error names everything wrong, as Parse's does.
func ParseAction(data []byte, unit *Unit) (Action, error) {
	a := Action{unit: unit}
	o := overlay{}
	root := o.parse(data)
	if root == nil && len(o.r.errs) == 0 {
		o.r.problem("", "", "want an object, of what is to be done")
	}
	if len(o.r.errs) == 0 {
		o.r.section("", &a, root)
	}
	if len(o.r.errs) > 0 {
		return Action{}, o.r.all()
	}
	return a, nil
}

func (a *Action) fields() []field {
	return []field{
		boolean("reset", &a.Reset, false, "Forget what it has used."),
		amountOf("grant", &a.Grant, &a.unit, "Units beside what the limit gives."),
		amountOf("quantity", &a.Quantity, &a.unit, "Units in the place of the limit's quantity."),
		duration("for", &a.For, 0, time.Second, longest, "How long."),
		str("until", &a.until, "", times, "Until when."),
	}
}

func (a *Action) finish(r *reader, path string) {
	things := 0
	for _, is := range [...]bool{a.Reset, a.Grant > 0, a.Quantity > 0} {
		if is {
			things++
		}
	}
	timed := a.For > 0 || a.until != ""
	switch {
	case things != 1:
		r.problem(path, "", "want exactly one of reset (true), grant and quantity")
	case a.Reset && timed:
		r.problem(path, "", "a reset has no time; leave for and until out")
	case !a.Reset && (a.For > 0) == (a.until != ""):
		r.problem(path, "", "want exactly one of for and until, too")
	case a.until != "":
		a.Until, _ = unixTime(a.until)
	}
}

// Time is how long an action holds, in words.
func (a *Action) Time() string {
	if a.until != "" {
		return " until " + a.until
	}
	return " for " + brief(a.For)
}

// times is a time as RFC 3339 has it.
var times = rule{want: `a time such as "2026-01-31T23:59:59Z"`, accept: func(s string) (string, bool) {
	_, ok := unixTime(s)
	return s, ok
}}

// unixTime reads an RFC 3339 time of this century, as nanoseconds since 1970, to the second. (time.Parse would make the module larger.)
func unixTime(s string) (int64, bool) {
	const shape = "2000-00-00T00:00:00"
	if len(s) < len(shape)+1 {
		return 0, false
	}
	var n [6]int64
	part := 0
	for i := range len(shape) {
		switch c := s[i]; {
		case shape[i] != '0' && shape[i] != '2':
			if c != shape[i] {
				return 0, false
			}
			part++
		case c < '0' || c > '9':
			return 0, false
		default:
			n[part] = n[part]*10 + int64(c-'0')
		}
	}
	zone := strings.TrimLeft(strings.TrimPrefix(s[len(shape):], "."), "0123456789")
	offset, ok := zoneOffset(zone)
	year, month, day := n[0], n[1], n[2]
	if !ok || year < 2000 || year > 2099 || month < 1 || month > 12 || day < 1 || day > daysOf(year, month) || n[3] > 23 || n[4] > 59 || n[5] > 60 {
		return 0, false
	}
	days := (year-1970)*365 + (year-1969)/4 + day - 1 // no year from 2000 to 2099 that can be divided by 4 is a common one
	for m := int64(1); m < month; m++ {
		days += daysOf(year, m)
	}
	return ((days*24+n[3])*3600 + n[4]*60 + n[5] - offset) * int64(time.Second), true
}

func daysOf(year, month int64) int64 {
	switch month {
	case 2:
		if year%4 == 0 {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

// zoneOffset reads Z or such as +08:00, in seconds.
func zoneOffset(zone string) (int64, bool) {
	if zone == "Z" || zone == "z" {
		return 0, true
	}
	if len(zone) != 6 || zone[3] != ':' || zone[0] != '+' && zone[0] != '-' {
		return 0, false
	}
	hours, bad := strconv.ParseUint(zone[1:3], 10, 8)
	minutes, worse := strconv.ParseUint(zone[4:], 10, 8)
	if bad != nil || worse != nil || hours > 23 || minutes > 59 {
		return 0, false
	}
	seconds := int64(hours*3600 + minutes*60)
	if zone[0] == '-' {
		seconds = -seconds
	}
	return seconds, true
}
