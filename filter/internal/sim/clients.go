package sim

import (
	"fmt"
	"strings"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/reply"
)

const (
	honestUsers   = 8
	strangersNeed = 4 * 256 // tokens, that a request without a bound is expected to take at most where its user is not known for more
)

// arrivals lets clients come: honest ones all the time, and the adversary with one trick after the other.
func (p *Proxy) arrivals() {
	for n := range honestUsers {
		p.honest(fmt.Sprintf("honest%d", n))
	}
	p.after(p.exponential(10*second), p.attack)
}

// honest is a user that asks where its limits have room for it.
func (p *Proxy) honest(user string) {
	const mean = 200 // tokens
	p.after(p.exponential(8*second), func() {
		if p.closing {
			return
		}
		tokens := min(p.exponential(mean), 2*mean)
		c := client{kind: "honest", user: user, stream: p.random.IntN(2) == 0, tokens: tokens, reports: tokens, status: 200,
			takes: p.exponential(2 * second)}
		room := int64(strangersNeed)
		if p.random.IntN(3) == 0 {
			c.bound = 2 * mean
			room = c.bound
		}
		if p.users[user].mayAsk(p, room) {
			p.bring(c)
		}
		p.honest(user)
	})
}

// longestAnswer is the longest that the upstream gives.
func longestAnswer(quantity int64) int64 { return max(4000, quantity/2) }

// attack is one trick of the adversary's, as often as it likes.
func (p *Proxy) attack() {
	if p.closing {
		return
	}
	mallory := fmt.Sprintf("mallory%d", p.random.IntN(3))
	c := client{user: mallory, stream: p.random.IntN(2) == 0, status: 200, takes: p.exponential(second)}
	times := 1 + p.random.IntN(150)
	switch p.random.IntN(7) {
	case 0:
		c.kind, c.tokens = "teaches", int64(p.random.IntN(10))
		times = 20
	case 1:
		c.kind, c.tokens = "bursts", 4000
	case 2:
		c.kind, c.tokens, c.leaves = "hangs up", 4000, p.exponential(second)
	case 3:
		c.kind, c.tokens, c.partial, c.leaves = "uploads slowly", 100, true, p.exponential(30*second)
	case 4:
		c.kind, c.status = "fails", []int{429, 500, 503, 400}[p.random.IntN(4)]
	case 5:
		c.kind, c.bound = "states bounds", p.Tokens/2
		c.tokens = 1 + p.random.Int64N(c.bound)
	case 6:
		c.kind, c.tokens = "says nothing of its usage", 300
	}
	c.reports = c.tokens
	if c.kind == "says nothing of its usage" {
		c.reports = -1
	}
	madeUp := c.kind == "teaches" || p.random.IntN(4) == 0
	for i := range times {
		if madeUp {
			c.user = fmt.Sprintf("made-up%d", p.random.IntN(1000))
		}
		c := c
		p.after(int64(i)*millisecond/10, func() { p.bring(c) })
	}
	p.after(p.exponential(20*second), p.attack)
}

// bring lets a request come to some worker.
func (p *Proxy) bring(c client) *exchange {
	e := p.workers[p.random.IntN(len(p.workers))]
	x := &exchange{client: c, worker: e, account: p.account(c.user)}
	e.open[x] = true
	x.Reset(uint32(len(p.users)))
	body := `{"model":"m","stream":` + fmt.Sprint(c.stream)
	if c.bound > 0 {
		body += fmt.Sprintf(`,"max_tokens":%d`, c.bound)
	}
	body += `,"messages":[{"role":"user","content":"hello"}]}`
	if c.leaves > 0 {
		p.after(c.leaves, func() { p.leaves(x) })
	}
	e.headers = [][2]string{
		{":method", "POST"}, {":path", "/v1/chat/completions"}, {"x-user-id", c.user}, {"content-length", fmt.Sprint(len(body))},
	}
	e.RequestHeaders(&x.Stream, clock.Moment(p.now), false)
	e.did(x)
	if x.over {
		return x
	}
	if c.partial {
		e.piece = []byte(body[:20])
		e.RequestBody(&x.Stream, clock.Moment(p.now), len(e.piece), false)
		e.did(x)
		return x
	}
	e.piece = []byte(body)
	e.RequestBody(&x.Stream, clock.Moment(p.now), len(body), true)
	e.did(x)
	p.underWay(x)
	return x
}

// sends takes a request to the upstream, which answers it after a time.
func (p *Proxy) sends(x *exchange) {
	x.sent, x.there = true, true
	p.reaches(x)
	p.after(x.takes, func() { p.answers(x) })
}

func (p *Proxy) answers(x *exchange) {
	if x.over || !x.worker.alive {
		return
	}
	e, kind := x.worker, "application/json"
	x.there = false
	if x.stream && x.status == 200 {
		kind = "text/event-stream"
	}
	e.headers = [][2]string{{":status", fmt.Sprint(x.status)}, {"content-type", kind}}
	e.ResponseHeaders(&x.Stream, clock.Moment(p.now), false)
	e.did(x)
	usage := ""
	if x.reports >= 0 {
		usage = fmt.Sprintf(`,"usage":{"prompt_tokens":9,"completion_tokens":%d,"total_tokens":%d}`, x.reports, x.reports+9)
	}
	body := `{"choices":[{"message":{"content":"` + strings.Repeat("word", int(x.tokens)) + `"}}]` + usage + `}`
	if x.stream {
		piece := `data: {"choices":[{"delta":{"content":"word"}}]}` + "\n\n"
		body = strings.Repeat(piece, int(min(x.tokens, 100)))
		if usage != "" {
			body += `data: {"choices":[]` + usage + "}\n\n"
		}
	}
	if x.status != 200 {
		body = `{"error":{}}`
	}
	e.piece = []byte(body)
	e.ResponseBody(&x.Stream, clock.Moment(p.now), len(body), true)
	e.did(x)
	p.ends(x)
}

// leaves is a client that hangs up.
func (p *Proxy) leaves(x *exchange) {
	if !x.over && x.worker.alive {
		p.ends(x)
	}
}

// ends is the end of a request's stream.
func (p *Proxy) ends(x *exchange) {
	x.over, x.there = true, false
	delete(x.worker.open, x)
	x.worker.Done(&x.Stream, clock.Moment(p.now))
	x.worker.did(x)
	p.settled(x)
}

func (p *Proxy) reasonOf(r *reply.Reply) string {
	for _, h := range r.Headers {
		if h[0] == "x-spillway-reason" {
			return h[1]
		}
	}
	return ""
}
