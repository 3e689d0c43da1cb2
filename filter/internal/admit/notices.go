package admit

import (
	"slices"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/record"
)

// advise says what an operator should know of a configuration that is valid, and may not be what he means. Each is said once, by the first
// worker that has it, and not again before the proxy is restarted.
func (e *Engine) advise() {
	header := e.cfg.Priority.Header
	if header == "" && len(e.cfg.Priority.Objectives) > 0 {
		header = e.cfg.Priority.ObjectiveHeader
	}
	if header == "" || e.cfg.Priority.Trust != nil || e.cfg.Mode == config.Off || !e.first("priority") {
		return
	}
	text := "the header " + header + " is believed from everybody: any client can say that it is urgent, and goes first. priority.trust says who" +
		" may set it (an empty list: nobody)"
	if e.ranks() {
		e.out.warn(text)
	} else {
		e.out.info(text)
	}
}

// first says that no worker has said something before, or that this can't be known.
func (e *Engine) first(what string) bool {
	written, err := e.host.Put(e.cfg.Namespace+"/notice/"+what, []byte{1}, record.Create)
	return written || err != nil
}

// ranks says that anything depends on priorities.
func (e *Engine) ranks() bool {
	return len(e.cfg.Upstreams) > 0 || slices.ContainsFunc(e.cfg.Limits, func(l config.Limit) bool {
		return len(l.Match.Priorities) > 0 || slices.Contains(l.Per, config.PerPriority)
	})
}
