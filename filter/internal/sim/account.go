package sim

import (
	"math"
	"strconv"
	"strings"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/bucket"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/dispatch"
	"github.com/spillway-proxy/spillway/filter/internal/table"
)

// account is what a user has really used, and what is on its way.
type account struct {
	tokens, requests meter
	flying           map[*exchange]bool // admitted, and not settled
}

func (p *Proxy) account(user string) *account {
	if p.users[user] == nil {
		p.users[user] = &account{flying: map[*exchange]bool{}, tokens: meter{at: p.now}, requests: meter{at: p.now}}
	}
	return p.users[user]
}

func (p *Proxy) rate(quantity int64) bucket.Rate {
	return bucket.Rate{Burst: quantity * bucket.Micro, Quantity: quantity * bucket.Micro, Window: 3600 * second}
}

// mayAsk says that an honest user has room for one more request that is expected to take so many tokens. It sends one at a time: two at
// once may be taken for a burst where the limit is small.
func (a *account) mayAsk(p *Proxy, tokens int64) bool {
	if a == nil {
		return true
	}
	a.tokens.leak(p.now, p.rate(p.Tokens))
	a.requests.leak(p.now, p.rate(p.Requests))
	return len(a.flying) == 0 && a.tokens.used+float64((tokens+1)*bucket.Micro) < float64(p.Tokens*bucket.Micro) &&
		a.requests.used+2*bucket.Micro < float64(p.Requests*bucket.Micro)
}

// reaches is asked when a request goes to the upstream.
func (p *Proxy) reaches(x *exchange) {
	const rounding = 1e4 // millionths
	p.Passed[x.kind]++
	a := x.account
	a.tokens.leak(p.now, p.rate(p.Tokens))
	a.requests.leak(p.now, p.rate(p.Requests))
	a.requests.used += bucket.Micro
	a.flying[x] = true
	if a.requests.used > float64(p.Requests)*bucket.Micro+rounding {
		p.wrong("%s (%s): %.3f requests reached the upstream, of %d", x.user, x.kind, a.requests.used/bucket.Micro, p.Requests)
	}
	unbounded := 0
	for other := range a.flying {
		if other.bound == 0 {
			unbounded++
		}
	}
	p.Most = max(p.Most, unbounded)
	if most := p.mostAtOnce(); unbounded > most {
		p.wrong("%s (%s): %d requests without a bound are in flight at once, want %d at most", x.user, x.kind, unbounded, most)
	}
	p.slots()
}

// underWay is asked when a request is admitted.
func (p *Proxy) underWay(x *exchange) {
	n := 0
	for _, e := range p.workers {
		for other := range e.open {
			if other.account == x.account && (other.sent || other.Waiting()) {
				n++
			}
		}
	}
	p.MostUnderWay = max(p.MostUnderWay, n)
	if p.AtOnce > 0 && n > p.AtOnce {
		p.wrong("%s (%s): %d requests are under way at once, of %d", x.user, x.kind, n, p.AtOnce)
	}
}

// mostAtOnce is how many unbounded requests docs/security.md allows at once.
func (p *Proxy) mostAtOnce() int {
	const least, most = 32, 4096
	n := math.Log(most/least) / math.Log(1+(most-least)/float64(p.Tokens))
	if p.Admission == string(config.Strict) {
		return max(int(n), 1)
	}
	return int(math.Ceil(n))
}

func (p *Proxy) slots() {
	flying := 0
	for _, e := range p.workers {
		for x := range e.open {
			if x.there {
				flying++
			}
		}
	}
	if flying > p.Slots {
		p.wrong("%d requests are at the upstream, which has %d slots", flying, p.Slots)
	}
}

// settled is asked when a request is over.
func (p *Proxy) settled(x *exchange) {
	a := x.account
	a.tokens.leak(p.now, p.rate(p.Tokens))
	a.requests.leak(p.now, p.rate(p.Requests))
	if x.sent {
		a.tokens.used += float64(x.charged) * bucket.Micro
		if most := p.Tokens + int64(p.mostAtOnce())*longestAnswer(p.Tokens); a.tokens.used > float64(most)*bucket.Micro {
			p.wrong("%s (%s) has used %.0f tokens of %d, want %d at most", x.user, x.kind, a.tokens.used/bucket.Micro, p.Tokens, most)
		}
	}
	a.leave(x)
}

func (a *account) leave(x *exchange) { delete(a.flying, x) }

// refused is asked when a request is answered by the filter.
func (p *Proxy) refused(x *exchange) {
	reason := p.reasonOf(x.Reply())
	p.Refused[x.kind]++
	if x.sent {
		p.wrong("%s (%s) is refused when it is at the upstream: %s", x.user, x.kind, reason)
	}
	if reason == "limits/request_too_large" && x.bound <= p.Tokens {
		p.wrong("%s (%s) is refused for good", x.user, x.kind)
	}
	if x.kind == "honest" {
		p.Reasons[reason]++
		if strings.HasPrefix(reason, "limits/") {
			p.wrong("%s, which is within its limits, is refused: %s: %s", x.user, reason, x.Reply().Body)
		}
	}
	x.over = true
	delete(x.worker.open, x)
	x.worker.Done(&x.Stream, clock.Moment(p.now))
}

// end says that nothing is left when all is over, and that all honest users are served.
func (p *Proxy) end() {
	for user, a := range p.users {
		if len(a.flying) > 0 {
			p.wrong("%s still has %d requests in flight", user, len(a.flying))
		}
	}
	if p.Crash == 0 {
		p.nothingReserved()
	}
	p.now += 2 * minute // a gate that is shut opens; what died with its worker is forgotten
	for n := range honestUsers {
		p.now += 10 * second
		c := client{kind: "last", user: "late" + string(rune('0'+n)), tokens: 100, reports: 100, status: 200, takes: second}
		if x := p.bring(c); !x.sent {
			p.wrong("when all is over, %s is not served", x.user)
		} else {
			p.now += second
			p.answers(x)
		}
	}
	probe := dispatch.New(dispatch.NewSettings(&p.cfg.Upstreams[0], p.cfg.Mode), p.memory, p.cfg.Namespace+"/u1/u", 1<<40)
	if v := probe.Snapshot(clock.Moment(p.now)); v.InFlight != 0 || v.Waiting != [dispatch.Priorities]int{} {
		p.wrong("at the end the record says %+v", v)
	}
}

// nothingReserved says that no bucket holds a reservation, as package table lays its pages out.
func (p *Proxy) nothingReserved() {
	const header, reservations = 8, 24
	for page := range table.Pages {
		value, _, _, _ := p.memory.Get(p.cfg.Namespace + "/b1/" + base36(page))
		for at := header; at+table.RecordSize <= len(value); at += table.RecordSize {
			for _, b := range value[at+reservations : at+reservations+8] {
				if b != 0 {
					p.wrong("page %d still holds a reservation", page)
					return
				}
			}
		}
	}
}

func base36(n int) string { return strconv.FormatInt(int64(n), 36) }
