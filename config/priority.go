package config

import "strings"

// priorities are all priorities, in the order in which they go.
var priorities = []Priority{Urgent, High, Normal, Low}

// String is the name in capitals, such as NORMAL.
func (p Priority) String() string {
	switch p {
	case Low:
		return "LOW"
	case Normal:
		return "NORMAL"
	case High:
		return "HIGH"
	case Urgent:
		return "URGENT"
	default:
		return "UNKNOWN"
	}
}

// key is the name as the configuration's keys have it.
func (p Priority) key() string { return strings.ToLower(p.String()) }

// ParsePriority reads a priority's name in any case, white space around it ignored; "medium" is another name of Normal.
func ParsePriority(s string) (Priority, bool) {
	s = strings.Trim(s, " \t\r\n")
	if strings.EqualFold(s, "medium") {
		return Normal, true
	}
	for _, p := range priorities {
		if strings.EqualFold(s, p.String()) {
			return p, true
		}
	}
	return Normal, false
}
