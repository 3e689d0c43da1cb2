package config

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// kind is a type of single value: how it is read and what would be right.
type kind[T any] interface {
	// parse reads v. The problem is "" or a remark on what is wrong; want says what would be right.
	parse(v *jsonValue) (value T, problem string)
	want() string
	// describe states the same for the JSON Schema; plain is a value in its JSON form.
	describe(s *Schema)
	plain(value T) any
}

// wrong is the problem of a value of which nothing can be said but what would be right.
const wrong = "wrong value"

type boolKind struct{}

func (boolKind) want() string     { return "true or false" }
func (boolKind) plain(b bool) any { return b }
func (boolKind) parse(v *jsonValue) (bool, string) {
	if t := v.kind; t != isTrue && t != isFalse {
		return false, wrong
	}
	return v.kind == isTrue, ""
}

// textKind is a string that follows a rule.
type textKind struct{ rule rule }

func (k textKind) want() string       { return k.rule.want }
func (k textKind) plain(s string) any { return s }
func (k textKind) parse(v *jsonValue) (string, string) {
	switch v.kind {
	case isString:
	case isNumber, isTrue, isFalse:
		return "", "not a string (put it in quotes)" // YAML takes an unquoted 1, on or no for something else
	default:
		return "", wrong
	}
	s, ok := k.rule.accept(v.text)
	if !ok {
		return "", wrong
	}
	return s, ""
}

// enumKind is one of a few words.
type enumKind struct{ words []string }

func (k enumKind) plain(word string) any { return word }
func (k enumKind) want() string          { return oneOf(k.words) }

// parse takes false for "off": that is what YAML 1.1, Envoy's and Kubernetes' included, makes of an unquoted off.
func (k enumKind) parse(v *jsonValue) (string, string) {
	for _, word := range k.words {
		switch v.kind {
		case isString:
			if v.text == word {
				return word, ""
			}
		case isFalse:
			if word == "off" {
				return word, ""
			}
		}
	}
	return "", wrong
}

// integerKind is a whole number from min to max.
type integerKind[T ~int | ~int64] struct{ min, max T }

func (k integerKind[T]) plain(n T) any { return int64(n) }
func (k integerKind[T]) want() string {
	return "a whole number from " + strconv.FormatInt(int64(k.min), 10) + " to " + strconv.FormatInt(int64(k.max), 10)
}

// parse takes 300.0 and 3e2 for 300: a control plane that carries the configuration as a protobuf Struct knows doubles only.
func (k integerKind[T]) parse(v *jsonValue) (T, string) {
	if !v.isNumber() {
		return 0, wrong
	}
	n, err := strconv.ParseInt(v.text, 10, 64)
	if err != nil {
		f, err := strconv.ParseFloat(v.text, 64)
		if err != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
			return 0, wrong
		}
		n = int64(f)
	}
	if n < int64(k.min) || n > int64(k.max) {
		return 0, wrong
	}
	return T(n), ""
}

// slotsKind is a number of slots, or auto.
type slotsKind struct{}

const auto = "auto"

var someSlots = integerKind[int]{0, maxCount}

func (slotsKind) want() string { return someSlots.want() + ", or auto" }
func (slotsKind) plain(n int) any {
	if n == autoSlots {
		return auto
	}
	return someSlots.plain(n)
}

func (slotsKind) parse(v *jsonValue) (int, string) {
	if v.kind == isString && v.text == auto {
		return autoSlots, ""
	}
	return someSlots.parse(v)
}

// numberKind is a finite number in an interval.
type numberKind struct{ in interval }

func (k numberKind) plain(f float64) any { return f }
func (k numberKind) want() string        { return "a number " + k.in.String() }
func (k numberKind) parse(v *jsonValue) (float64, string) {
	if !v.isNumber() {
		return 0, wrong
	}
	f, err := strconv.ParseFloat(v.text, 64)
	if err != nil || !k.in.contains(f) {
		return 0, wrong
	}
	return f, ""
}

// interval is a range of numbers; an open end does not belong to it.
type interval struct {
	min, max         float64
	openMin, openMax bool
}

func (in interval) contains(f float64) bool {
	return (f > in.min || f == in.min && !in.openMin) && (f < in.max || f == in.max && !in.openMax)
}

// String is such as "from 0 to 1" or "above 0 and below 1".
func (in interval) String() string {
	from, to := "from ", " to "
	if in.openMin {
		from, to = "above ", " and at most "
	}
	if in.openMax {
		to = " and below "
	}
	return from + number(in.min) + to + number(in.max)
}

// number renders a number as briefly as possible.
func number(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// durationKind is a duration in Go's notation from min to max; zero says that 0 is one, too.
type durationKind struct {
	min, max time.Duration
	zero     bool
}

func (k durationKind) plain(d time.Duration) any { return brief(d) }
func (k durationKind) want() string {
	bounds := "from " + brief(k.min) + " to " + brief(k.max)
	if k.zero {
		bounds = `"0s" or ` + bounds
	}
	return `a duration such as "300ms", "2s" or "1h", ` + bounds
}

func (k durationKind) parse(v *jsonValue) (time.Duration, string) {
	if v.kind != isString {
		return 0, wrong
	}
	s := v.text
	d, err := time.ParseDuration(s)
	if err != nil || strings.ContainsAny(s, "+-") {
		return 0, wrong
	}
	if (d < k.min || d > k.max) && !(k.zero && d == 0) {
		return 0, wrong
	}
	return d, ""
}

// brief is d without the zeros at its end: 1h, not 1h0m0s.
func brief(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// priorityKind is the name of a priority.
type priorityKind struct{}

func (priorityKind) want() string         { return "urgent, high, normal (or medium) or low" }
func (priorityKind) plain(p Priority) any { return p.key() }
func (priorityKind) parse(v *jsonValue) (Priority, string) {
	if v.kind != isString {
		return Normal, wrong
	}
	p, ok := ParsePriority(v.text)
	if !ok {
		return Normal, wrong
	}
	return p, ""
}
