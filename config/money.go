package config

import (
	"strconv"
	"strings"
)

// Money is counted in billionths of a dollar (nano-dollars), which all that is said of it in a configuration is a whole number of. Decimal digits
// are read and written as they stand; there is no float on the way, in which a tenth of a cent has no place.

// Dollar is one, in billionths.
const Dollar = 1_000_000_000

const (
	nanoDigits  = 9
	mostDollars = 1_000_000_000 * Dollar // of a quantity: a bucket holds four times as much
	mostPrice   = 1_000_000 * Dollar     // a dollar a token
)

// NoPrice is a price that isn't given.
const NoPrice = -1

// Price says what models cost; the first entry whose model glob matches counts. Prices are in billionths of a dollar for a million tokens.
type Price struct {
	Models []string
	Rates
	Request int64  // for each request, in billionths of a dollar
	Above   *Above // nil: it is all the same how long a prompt is
}

// Rates are the prices of tokens, NoPrice where none is given: of a part it is that of what it is a part of, then.
type Rates struct {
	Prompt, Cached, CacheWrite, AudioPrompt int64
	Completion, Reasoning, AudioCompletion  int64
}

// Above are the prices of a request whose prompt has more than so many tokens: of all of them. What isn't given stays as it is; of a part, if what
// it is a part of stays, too.
type Above struct {
	PromptTokens int64
	Rates
}

// Unpriced says what becomes of a request for a model without a price, where a limit counts dollars.
type Unpriced string

// The ways.
const (
	UnpricedPass   Unpriced = "pass"   // it costs nothing
	UnpricedReject Unpriced = "reject" // it is refused, status 400
)

func (r *Rates) fields() []field {
	rate := func(name string, to *int64, doc string) field {
		return field{name: name, doc: docOf(doc), value: price{to, mostPrice}}
	}
	return []field{
		rate("prompt", &r.Prompt, "Dollars for a million prompt tokens. Left out: they cost nothing."),
		rate("cached", &r.Cached, "Of those the ones that came from a cache. Left out: as prompt."),
		rate("cacheWrite", &r.CacheWrite, "Of those the ones that were written to a cache. Left out: as prompt."),
		rate("completion", &r.Completion, "Dollars for a million completion tokens. Left out: they cost nothing."),
		rate("reasoning", &r.Reasoning, "Of those the ones that are reasoning. Left out: as completion."),
		rate("audioPrompt", &r.AudioPrompt, "Of prompt tokens the ones that are audio. Left out: as prompt."),
		rate("audioCompletion", &r.AudioCompletion, "Of completion tokens the ones that are audio. Left out: as completion."),
	}
}

func (p *Price) fields() []field {
	return append(append([]field{someStrs("models", &p.Models, []string{"*"}, globs, "Globs of the models that the entry is for.")}, p.Rates.fields()...),
		field{name: "request", doc: docOf("Dollars for a request, whatever its tokens."), value: price{&p.Request, mostPrice}},
		field{name: "above", doc: docOf("Prices of a request whose prompt has more than promptTokens tokens: of all of its tokens. What is left out stays as it is, " +
			"but for a part of what is given: that costs as much."), value: maybeAbove{&p.Above}})
}

func (a *Above) fields() []field {
	return append([]field{required(integer("promptTokens", &a.PromptTokens, 0, 1, maxOutput, "Above how many."))}, a.Rates.fields()...)
}

// finish takes what an entry without any price stands for to be a mistake.
func (p *Price) finish(r *reader, path string) {
	if p.Prompt == NoPrice && p.Completion == NoPrice && p.Request == NoPrice {
		r.problem(path, "", "gives no price; want prompt, completion or request, be it 0")
	}
}

func (a *Above) finish(r *reader, path string) {
	if a.Rates == (Rates{NoPrice, NoPrice, NoPrice, NoPrice, NoPrice, NoPrice, NoPrice}) {
		r.problem(path, "", "gives no price; want one")
	}
}

// finishPrices reports limits of dollars for which nothing says what anything costs.
func (c *Config) finishPrices(r *reader, path string) {
	for i := range c.Limits {
		if c.Limits[i].Unit.Money() && len(c.Prices) == 0 {
			r.problem(join(index(join(path, "limits"), i), "unit"), c.Limits[i].Unit.Name, "no model has a price; want prices, too")
		}
	}
}

// nanos is what a decimal number of JSON comes to in billionths, exactly. The problem is "", wrong, or that it isn't a whole number of them.
func nanos(text string) (n uint64, problem string) {
	shift := nanoDigits
	if at := strings.IndexAny(text, "eE"); at >= 0 {
		exponent, err := strconv.Atoi(text[at+1:])
		if err != nil || exponent < -1000 || exponent > 1000 {
			return 0, wrong
		}
		text, shift = text[:at], shift+exponent
	}
	whole, fraction, _ := strings.Cut(text, ".")
	shift -= len(fraction)
	digits := strings.TrimLeft(whole+fraction, "0")
	short := strings.TrimRight(digits, "0")
	shift += len(digits) - len(short)
	switch {
	case short == "":
		return 0, ""
	case short[0] == '-' || len(short)+shift > len("1000000000000000000"):
		return 0, wrong
	case shift < 0:
		return 0, "finer than a billionth"
	}
	n, err := strconv.ParseUint(short, 10, 64)
	if err != nil {
		return 0, wrong
	}
	for ; shift > 0; shift-- {
		n *= 10
	}
	return n, ""
}

// dollarsKind is a number of dollars from least billionths to most.
type dollarsKind struct{ least, most int64 }

func (k dollarsKind) want() string {
	from := "from 0"
	if k.least > 0 {
		from = "above 0 and"
	}
	return "dollars " + from + " to " + strconv.FormatInt(k.most/Dollar, 10) + ", with at most 9 digits behind the point"
}

func (k dollarsKind) plain(n int64) any { return string(AppendDollars(nil, n)) }

func (k dollarsKind) describe(s *Schema) {
	most := float64(k.most / Dollar)
	if s.Type, s.Maximum = "number", &most; k.least > 0 {
		s.ExclusiveMinimum = new(float64)
	} else {
		s.Minimum = new(float64)
	}
}

func (k dollarsKind) parse(v *jsonValue) (int64, string) {
	if !v.isNumber() {
		return 0, wrong
	}
	n, problem := nanos(v.text)
	if problem == "" && (n < uint64(k.least) || n > uint64(k.most)) {
		problem = wrong
	}
	return int64(n), problem
}

// AppendDollars appends billionths of a dollar as a decimal number, exactly: 0.25.
func AppendDollars(b []byte, n int64) []byte {
	size := uint64(n)
	if n < 0 {
		b, size = append(b, '-'), -size
	}
	b = strconv.AppendUint(b, size/Dollar, 10)
	rest := size % Dollar
	if rest == 0 {
		return b
	}
	b = append(b, '.')
	for unit := uint64(Dollar / 10); rest > 0; unit /= 10 {
		b = append(b, '0'+byte(rest/unit))
		rest %= unit
	}
	return b
}

// price is a number of dollars that may be left out: NoPrice then.
type price struct {
	to   *int64
	most int64
}

func (p price) want() string { return dollarsKind{0, p.most}.want() }
func (p price) read(r *reader, path string, v *jsonValue) {
	*p.to = NoPrice
	if v == nil {
		return
	}
	if n, ok := one[int64](r, path, v, dollarsKind{0, p.most}); ok {
		*p.to = n
	}
}

func (p price) show(b []byte) []byte {
	if *p.to == NoPrice {
		return b
	}
	return AppendDollars(b, *p.to)
}

func (p price) describe(s *Schema) { dollarsKind{0, p.most}.describe(s) }

// maybeAbove is a section that may be left out.
type maybeAbove struct{ to **Above }

func (m maybeAbove) want() string { return "an object" }
func (m maybeAbove) read(r *reader, path string, v *jsonValue) {
	*m.to = nil
	if v != nil {
		*m.to = &Above{}
		r.section(path, *m.to, v)
	}
}

func (m maybeAbove) show(b []byte) []byte {
	if *m.to == nil {
		return b
	}
	return showSection(b, *m.to)
}

func (m maybeAbove) describe(s *Schema) { describeSection(s, &Above{}) }

// amount is a number of a unit, which was read before: of dollars, or a whole number of others.
type amount struct {
	to   *int64
	unit **Unit
}

func (a amount) money() bool { return *a.unit != nil && (*a.unit).Money() }
func (a amount) kind() kind[int64] {
	if a.money() {
		return dollarsKind{1, mostDollars}
	}
	return integerKind[int64]{1, maxUnits}
}
func (a amount) want() string { return a.kind().want() }
func (a amount) read(r *reader, path string, v *jsonValue) {
	scalar[int64]{a.to, 0, a.kind()}.read(r, path, v)
}

func (a amount) show(b []byte) []byte {
	if a.money() {
		return AppendDollars(b, *a.to)
	}
	return strconv.AppendInt(b, *a.to, 10)
}

func (a amount) describe(s *Schema) {
	none, most := 0., float64(maxUnits)
	s.Type, s.ExclusiveMinimum, s.Maximum = "number", &none, &most
}

// amountOf is the field of a number of a unit.
func amountOf(name string, to *int64, unit **Unit, doc string) field {
	return field{name: name, doc: docOf(doc), value: amount{to, unit}}
}

// Append appends a number of units as a configuration has it.
func (u *Unit) Append(b []byte, n int64) []byte {
	if u.Money() {
		return AppendDollars(b, n)
	}
	return strconv.AppendInt(b, n, 10)
}
