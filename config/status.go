package config

import (
	"strconv"
	"strings"
)

// Statuses is a range of HTTP statuses of errors, both ends included.
type Statuses struct{ from, to int }

// Contains says that the status is one of them.
func (s Statuses) Contains(status int) bool { return s.from <= status && status <= s.to }

// statusesKind is one status, as a number or in quotes, or 4xx or 5xx.
type statusesKind struct{}

func (statusesKind) want() string { return "4xx, 5xx or a status from 400 to 599" }

func (statusesKind) plain(s Statuses) any {
	if s.from == s.to {
		return int64(s.from)
	}
	return strconv.Itoa(s.from/100) + "xx"
}

func (statusesKind) parse(v *jsonValue) (Statuses, string) {
	if v.kind == isString {
		switch s := v.text; {
		case s == "4xx" || s == "5xx":
			first := int(s[0]-'0') * 100
			return Statuses{first, first + 99}, ""
		case len(s) != 3 || strings.Trim(s, "0123456789") != "":
			return Statuses{}, wrong
		default:
			n, _ := strconv.Atoi(s)
			return Statuses{n, n}, among(n >= minFailure && n <= maxFailure)
		}
	}
	n, problem := integerKind[int]{minFailure, maxFailure}.parse(v)
	return Statuses{n, n}, problem
}

func among(is bool) string {
	if is {
		return ""
	}
	return wrong
}

// describe leaves the type open: the pattern is for strings, and the ends are for numbers.
func (statusesKind) describe(s *Schema) {
	lowest, highest := float64(minFailure), float64(maxFailure)
	s.Pattern, s.Minimum, s.Maximum = "^([45]xx|[45][0-9][0-9])$", &lowest, &highest
}

// statuses is a list of statuses without repetitions.
func statuses(name string, to *[]Statuses, doc string) field {
	return field{name: name, doc: docOf(doc), value: list[Statuses]{to: to, kind: statusesKind{}, unique: true}}
}
