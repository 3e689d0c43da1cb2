package explain

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spillway-proxy/spillway/config"
)

// upstreams says what each takes, and which gates it has.
func (t *text) upstreams(c *config.Config) {
	if c.Mode == config.Off {
		return
	}
	if len(c.Upstreams) == 0 {
		t.head("Upstreams: none. What passes the limits goes to the server at once: nothing waits, and no gate refuses.")
		return
	}
	t.head("Upstreams: the first that serves a request's model.")
	all := false
	for i := range c.Upstreams {
		u := &c.Upstreams[i]
		serves := "models " + anyOf(u.Models)
		if anyOf(u.Models) == "" {
			all, serves = true, "all models"
			if i > 0 {
				serves = "all other models"
			}
		}
		t.entry("%s serves %s, and takes %s.", u.Name, serves, takes(u))
		t.waiting(u, c)
		t.gates(u, c)
	}
	if !all {
		t.entry("Requests of other models pass at once, ungoverned.")
	}
}

// takes is what an upstream may be sent.
func takes(u *config.Upstream) string {
	var parts []string
	b := &u.Budget
	for _, bound := range []struct {
		n    int64
		noun string
	}{{b.Requests, "request"}, {b.Tokens, "token"}} {
		if bound.n > 0 {
			parts = append(parts, count(bound.n, bound.noun)+" "+each(b.Window))
		}
	}
	if len(parts) > 0 && b.Burst > 0 {
		parts[len(parts)-1] += fmt.Sprintf(" (%d at once)", b.Burst)
	}
	switch s := &u.Concurrency; {
	case s.Auto():
		parts = append(parts, fmt.Sprintf("as many requests at once as are learned to be good for it, %d to %d", s.Min, s.Limit))
	case s.Max > 0:
		parts = append(parts, count(int64(s.Max), "request")+" at once")
	}
	if len(parts) == 0 {
		return "whatever comes"
	}
	return strings.Join(parts, ", and ")
}

// turns says whose turn it is.
func turns(q *config.Queue) string {
	who := string(q.Fairness)
	if header, is := strings.CutPrefix(who, config.PerHeader); is {
		return "fair between the values of the header " + header + " within a priority"
	}
	if q.Fairness == config.FairToNone {
		return "first come, first served within a priority"
	}
	return "fair between " + who + "s within a priority"
}

// waiting says how requests wait that an upstream can't take.
func (t *text) waiting(u *config.Upstream, c *config.Config) {
	if !bounded(u) {
		return
	}
	if s := &u.Concurrency; s.ReservedUrgent+s.ReservedHigh > 0 {
		t.more("Of these %d are for urgent requests alone, and %d for high and urgent ones.", s.ReservedUrgent, s.ReservedHigh)
	}
	if len(u.Concurrency.Weights)+len(u.Budget.Weights) > 0 {
		t.more("Some count for several, by model or length of the prompt; what is heavier than all goes alone.")
	}
	q := &u.Queue
	if c.Mode == config.Shadow {
		t.more("In mode shadow nothing waits.")
	} else if q.Max > 0 {
		longest := make([]string, len(priorities))
		for i, p := range priorities {
			longest[i] = name(p) + " " + span(q.MaxWait[p])
		}
		t.more("The others wait, up to %d, the highest priority first, %s: %s at the longest, then status %d.", q.Max, turns(q), strings.Join(longest, ", "), c.StatusCode.QueueTimeout)
	}
	if c.Mode != config.Shadow && q.Max > 0 && q.MaxBytes > 0 {
		t.more("Of their bodies no more than %s are kept.", size(q.MaxBytes))
	}
	if c.Mode != config.Shadow {
		t.more("%s", strings.ReplaceAll(whenFull[q.WhenFull], "{status}", fmt.Sprint(c.StatusCode.QueueFull)))
	}
	if q.Deadline != config.DeadlineNone && q.Max > 0 {
		t.more("Who can't have a turn in time is refused at once (deadline %s).", q.Deadline)
	}
	if r := &u.Retreat; (u.Budget.Requests > 0 || u.Budget.Tokens > 0) && r.Mode.Under(c.Mode) != config.Off {
		t.more("While %s of answers in %s are 429, the budget is %s; it is raised again when they stop.", percent(r.Threshold), span(r.Window),
			onlySo(r.Mode.Under(c.Mode), "lowered to "+percent(r.Factor)+" again and again"))
	}
}

// bounded says that an upstream is sent less than comes.
func bounded(u *config.Upstream) bool {
	return u.Budget.Requests > 0 || u.Budget.Tokens > 0 || u.Concurrency.Max != 0
}

var whenFull = map[config.WhenFull]string{
	config.QueueReject:      "One that finds the queue full is refused: status {status}.",
	config.QueueDropLowest:  "One that finds the queue full has the newest of a lower priority refused, or is itself: status {status}.",
	config.QueuePassthrough: "One that finds the queue full waits all the same, and as many more as the queue holds; then status {status}.",
	config.QueueBypass:      "One that finds the queue full goes to the upstream at once, whatever that can take.",
}

// gates says which refuse, and when.
func (t *text) gates(u *config.Upstream, c *config.Config) {
	var off []string
	for _, g := range []struct {
		name   string
		mode   config.Mode
		when   string
		means  string // of words in when
		status int
	}{
		{"breaker", u.Breaker.Mode, breaks(&u.Breaker), "", c.StatusCode.Breaker},
		{"pressure", u.Pressure.Mode, "while every server is too full,", presses(&u.Pressure, c), c.StatusCode.Pressure},
		{"latency", u.Latency.Mode, lags(&u.Latency), "", c.StatusCode.Latency},
		{"throttle", u.Throttle.Mode, throttles(&u.Throttle), "", c.StatusCode.Throttle},
	} {
		mode := g.mode.Under(c.Mode)
		if mode == config.Off {
			off = append(off, g.name)
			continue
		}
		verdict := fmt.Sprintf("refused: status %d", g.status)
		if g.name == "breaker" {
			verdict = fallback(&u.Breaker.Fallback, g.status)
		}
		t.more("%s: %s requests are %s.%s", g.name, g.when, onlySo(mode, verdict), g.means)
	}
	if len(off) > 0 {
		t.more("Off: %s.", list(off, "and"))
	}
}

func breaks(b *config.Breaker) string {
	slow := ""
	if b.SlowCall > 0 {
		slow = fmt.Sprintf(" (slower than %s counts)", span(b.SlowCall))
	}
	return fmt.Sprintf("once %s of at least %s in %s have failed%s, for %s, and until %s succeeded,",
		percent(b.ErrorRate), count(int64(b.MinRequests), "request"), span(b.Window), slow, span(b.OpenFor), probes(b.Probes))
}

func probes(n int) string {
	if n == 1 {
		return "a probe has"
	}
	return fmt.Sprintf("%d probes have", n)
}

func fallback(f *config.Fallback, status int) string {
	what := fmt.Sprintf("refused: status %d", status)
	switch {
	case len(f.RouteHeader) > 0:
		var headers []string
		for _, header := range slices.Sorted(maps.Keys(f.RouteHeader)) {
			headers = append(headers, header+": "+f.RouteHeader[header])
		}
		return "given the header " + list(headers, "and") + ", for Envoy to send them elsewhere"
	case f.Status > 0:
		return fmt.Sprintf("answered with status %d", f.Status)
	}
	return what
}

func presses(p *config.Pressure, c *config.Config) string {
	shares := make([]string, len(priorities))
	for i, priority := range priorities {
		shares[i] = name(priority) + " requests from " + percent(p.Ceilings[priority])
	}
	stale := map[config.OnStale]string{config.StaleIgnore: "nothing is refused", config.StaleHold: "the last one counts", config.StaleFull: "every server counts as full"}
	s := &c.PressureSource
	return fmt.Sprintf("\n      Full is %s of KV-cache blocks, %d tokens being prefilled or %s of GPU memory, as %s says. Refused are, of what is full, %s. Without word for %s %s.",
		percent(p.ActiveDecodeBlocks), p.ActivePrefillTokens, percent(p.GPUMemory), s.Cluster, strings.Join(shares, ", "), span(s.StaleAfter), stale[p.OnStale])
}

func lags(l *config.Latency) string {
	of := "all models together have"
	if l.Per == config.LatencyPerModel {
		of = "a model has"
	}
	asked := ""
	if l.TTFTHeader != "" || l.ITLHeader != "" {
		asked = ", or above what a request asks for in " + list(slices.DeleteFunc([]string{l.TTFTHeader, l.ITLHeader}, func(h string) bool { return h == "" }), "or")
	}
	return fmt.Sprintf("while %s a time to the first token above %s or between tokens above %s, as averages over %s%s,", of, short(l.TTFT), short(l.ITL), span(l.TimeConstant), asked)
}

func throttles(t *config.Throttle) string {
	joined := "one of"
	if t.Fusion {
		joined = "a mean of"
	}
	return fmt.Sprintf("by priority, low ones first, while %s these is out of its range (arrivals above %g times the usual, P99 above %g times the usual or %s, GPU memory above %s),",
		joined, t.QPS.Factor, t.P99.Factor, short(t.P99.Max), percent(t.GPUMemory))
}

// short is a time in numbers.
func short(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return span(d)
}

// size writes bytes in the largest unit that they are a whole number of.
func size(bytes int64) string {
	units := []string{"bytes", "KiB", "MiB", "GiB", "TiB"}
	at := 0
	for bytes%1024 == 0 && bytes > 0 && at < len(units)-1 {
		bytes /= 1024
		at++
	}
	return fmt.Sprintf("%d %s", bytes, units[at])
}
