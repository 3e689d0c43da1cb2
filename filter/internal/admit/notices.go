package admit

import (
	"slices"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/record"
)

// Notices is what an operator should know of a configuration that is valid, and may not be what he means. Each is given once, to
// the first worker that asks, and not again before the proxy is restarted.
func (e *Engine) Notices() (notices []Note) {
	once := func(name string, n Note) {
		written, err := e.host.Put(e.cfg.Namespace+"/notice/"+name, []byte{1}, record.Create)
		if written || err != nil {
			notices = append(notices, n)
		}
	}
	if header := e.cfg.Priority.Header; header != "" && e.cfg.Priority.Trust == nil {
		once("priority", Note{Warning: e.ranks(), Text: "the header " + header + " is believed from everybody: any client can say that it is" +
			" urgent, and goes first. priority.trust says who may set it (an empty list: nobody)"})
	}
	return notices
}

// ranks says that anything depends on priorities.
func (e *Engine) ranks() bool {
	return len(e.cfg.Upstreams) > 0 || slices.ContainsFunc(e.cfg.Limits, func(l config.Limit) bool {
		return len(l.Match.Priorities) > 0 || slices.Contains(l.Per, config.PerPriority)
	})
}
