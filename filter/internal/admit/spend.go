package admit

import (
	"github.com/spillway-proxy/spillway/filter/internal/account"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/limit"
	"github.com/spillway-proxy/spillway/filter/internal/metric"
)

// What a request has cost in dollars, where a limit counts them. Without such a limit nothing of it is done.

// spent is what a request comes to for its limits.
func (e *Engine) spent(s *Stream, end *account.Settlement) limit.Usage {
	u := &end.Used
	used := limit.Usage{Prompt: u.Prompt, Completion: u.Completion, Total: u.Total, Cached: u.Cached, Reasoning: u.Reasoning,
		CacheWrite: u.CacheWrite, Audio: u.Audio, AudioOutput: u.AudioOutput}
	if e.limits.Spends() {
		used.Spend = e.limits.Spend(s.exchange.Model, e.canonical(end.Model), used, end.Status)
	}
	return used
}

// countSpend counts what was charged to each limit of dollars.
func (e *Engine) countSpend(s *Stream, charges []limit.Charge, spend int64, status int) {
	if spend == 0 {
		return
	}
	for i := range charges {
		if name := charges[i].Spends(status); name != "" {
			e.out.count(metric.Spend(name, e.label(s.exchange.Model)), spend)
		}
	}
}

// unpriced takes note of a request whose model has no price, where a limit counts dollars.
func (e *Engine) unpriced(s *Stream, now clock.Moment) {
	e.out.count(metric.Unpriced(e.label(s.exchange.Model)), 1)
	e.limits.NoteUnpriced(now, s.exchange.Model)
}
