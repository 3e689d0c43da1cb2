package limit

import (
	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/bucket"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/heavy"
	"github.com/spillway-proxy/spillway/filter/internal/inplace"
	"github.com/spillway-proxy/spillway/filter/internal/price"
	"github.com/spillway-proxy/spillway/filter/internal/table"
)

// Limits of dollars count billionths of one, by the prices of package price: a bucket's millionths are those. What they reserve is rounded up to a
// hundred-thousandth of a dollar, of which 32 bits hold 42,949 dollars at one time; what is settled is exact.
//
// A request's price is that of its model when it reserves. When it is settled it is that of the model that has answered, where an entry of the prices names
// that: a provider bills what has served, be it a fallback or a router's choice. An entry for every model ("*") names none, so that a dated name
// in an answer isn't billed by it.

// moneyGrain is what a reserved unit of money stands for, in billionths.
const moneyGrain = config.Dollar / 100_000

// parts is how many of a bucket's millionths one of a limit's units has.
func parts(u *config.Unit) int64 {
	if u.Money() {
		return 1
	}
	return bucket.Micro
}

// grain is how many of them a reserved unit has.
func grain(u *config.Unit) int64 {
	if u.Money() {
		return moneyGrain
	}
	return bucket.Micro
}

// shown is an amount as people read it: dollars, or units.
func (l *limit) shown(amount int64) float64 {
	if l.Unit.Money() {
		return float64(amount) / config.Dollar
	}
	return float64(amount)
}

// prices are those of a configuration.
type prices struct {
	table  *price.Table // nil: no limit is of dollars
	reject bool         // what has no price is refused

	use   price.Use // that is being priced: TinyGo keeps on the heap what is pointed to
	model []byte    // which was looked for last
	found *price.Model
	known bool

	id      uint64          // what tells the models without a price from limits in records
	lacking *heavy.Subjects // those models; nil: there are none yet
	told    uint32          // lacking.Changes, when it was told last
}

func newPrices(c *config.Config, t *table.Table) (p prices) {
	for i := range c.Limits {
		if c.Limits[i].Unit.Money() {
			return prices{table: price.New(c.Prices), reject: c.Unpriced == config.UnpricedReject, id: uint64(t.Hash([]byte("unpriced")))}
		}
	}
	return p
}

// Spends says that there are limits of dollars.
func (s *Set) Spends() bool { return s.prices.table != nil }

// needsPrice says that it can't be told without the model what a request costs a limit.
func (s *Set) needsPrice(l *limit) bool {
	switch l.Unit.Counts {
	case config.CountsCost:
		return len(s.cost) > 1
	case config.CountsSpend:
		return !s.prices.table.Same() || s.prices.reject
	}
	return false
}

// of gives the price of a model that can be told; nil: it has none.
func (p *prices) of(model string) *price.Model {
	if !p.known || inplace.String(p.model) != model {
		p.model, p.found, p.known = append(p.model[:0], model...), p.table.Of(model), true
	}
	return p.found
}

// lacks says that a model has no price. One that can't be told has none: it may be any.
func (p *prices) lacks(model string) bool { return model == "" || p.of(model) == nil }

// free says that a request of the model costs nothing, be it as long as it may.
func (p *prices) free(model string, noOutput bool) bool {
	if model == "" {
		return p.table.Free(noOutput)
	}
	return p.of(model).Free(noOutput)
}

// cost is what a use costs: of a model that can't be told as of the dearest.
func (p *prices) cost(model string, u Usage) int64 {
	p.price(u)
	if model == "" {
		return p.table.Dearest(&p.use)
	}
	return p.of(model).Cost(&p.use)
}

// price has a use priced. Reasoning that is more than all of the completion is no part of it, whatever the total says, and is billed on top of it: so
// does Vercel's gateway, of Gemini's answers.
func (p *prices) price(u Usage) {
	p.use = price.Use{
		Prompt: u.Prompt, Cached: u.Cached, CacheWrite: u.CacheWrite, AudioPrompt: max(u.Audio-u.AudioOutput, 0),
		Completion: u.Completion, Reasoning: u.Reasoning, AudioCompletion: u.AudioOutput,
	}
	if u.Reasoning > u.Completion {
		p.use.Completion += u.Reasoning
	}
}

// Spend is what a request has cost whose model is told, or can't be (""), and which a model of that name has answered ("": it doesn't say), in billionths of a dollar;
// 0 without limits of dollars. An error, or no answer at all (status 0), of which no tokens are charged costs nothing, not even what each request does.
func (s *Set) Spend(model, answer string, u Usage, status int) int64 {
	p := &s.prices
	if p.table == nil || u.Total == 0 && (status == 0 || status >= 400) {
		return 0
	}
	if answer != "" && answer != model {
		p.price(u)
		switch served := p.table.Named(answer); {
		case served != nil:
			return served.Cost(&p.use)
		case model == "": // it can be told now
			return p.of(answer).Cost(&p.use)
		}
	}
	return p.cost(model, u)
}

// Unread is how a model that can't be told is shown.
const Unread = "(can't be told)"

// NoteUnpriced notes a request whose model has no price: which models these are lately is told in the way of subjects (package heavy).
func (s *Set) NoteUnpriced(now clock.Moment, model string) {
	p := &s.prices
	if p.lacking == nil {
		p.lacking = s.book.Of(p.id)
	}
	if model == "" {
		model = Unread
	}
	s.subject = append(append(s.subject[:0], "unpriced\x00"...), model...)
	if counter, fresh := p.lacking.Use(now, uint64(s.table.Hash(s.subject)), bucket.Micro); fresh {
		counter.Name(s.subject[len("unpriced\x00"):])
	}
}

// UnpricedID tells the record of the models without a price from those of limits; 0: there are no limits of dollars.
func (s *Set) UnpricedID() uint64 { return s.prices.id }

// tellUnpriced tells which models have no price, if there is news.
func (s *Set) tellUnpriced(now clock.Moment, worker uint64, tell func(number int, record []byte) error) error {
	p := &s.prices
	if p.lacking == nil || p.lacking.Changes == p.told {
		return nil
	}
	s.record = p.lacking.AppendRecord(s.record[:0], worker, p.id, now)
	if err := tell(UnpricedNumber, s.record); err != nil {
		return err
	}
	p.told = p.lacking.Changes
	return nil
}

// UnpricedNumber is the place of that record among those of the limits.
const UnpricedNumber = -1

// Spends gives the name of the limit, if it is one of dollars that an answer of the status is charged to; else "".
func (c *Charge) Spends(status int) string {
	if !c.limit.Unit.Money() || c.limit.refunds(status) {
		return ""
	}
	return c.limit.Name
}
