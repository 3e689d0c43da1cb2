// Package promptsize is the example of docs/adding-a-gate.md.
package promptsize

import (
	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
)

// What the other packages would have, were it a real gate.
const (
	Name    = "promptsize"
	TooLong = "prompt_too_long"
)

// PromptSize is its configuration.
type PromptSize struct {
	Mode       config.Mode
	Tokens     int64
	Priorities []config.Priority
}

// Gate is an upstream's, in one worker.
type Gate struct {
	tokens  int64
	applies [config.Urgent + 1]bool
	enforce bool
}

// New makes a gate; nil: it is off. The plugin's mode is a ceiling over the gate's.
func New(c *PromptSize, mode config.Mode) *Gate {
	own := c.Mode.Under(mode)
	if own == config.Off {
		return nil
	}
	g := &Gate{tokens: c.Tokens, enforce: own == config.Enforce}
	for _, p := range c.Priorities {
		g.applies[p] = true
	}
	return g
}

// Judge says whether a prompt of so many tokens may go.
func (g *Gate) Judge(tokens int64, p config.Priority) gate.Verdict {
	if !g.applies[p] || tokens <= g.tokens {
		return gate.Verdict{}
	}
	v := gate.Because(gate.Shadowed, Name, TooLong)
	v.Measured, v.Threshold, v.Wait = float64(tokens), float64(g.tokens), gate.Never
	if g.enforce {
		v.Outcome = gate.Rejected
	}
	return v
}
