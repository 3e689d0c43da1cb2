package reply

import (
	"bytes"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/inplace"
)

// Said is what limits have said lately to those whom they refused: who floods a gateway is told the same again and again, but for the numbers. It is a
// worker's, for all its streams. A model's name that a client makes up takes the place of another one for a while, and no more memory than that.
type Said struct {
	kept [8]said
	next int // which one goes for another
}

// said is a body without its numbers: what is used and asked for, and when to come back.
type said struct {
	limit         *config.Limit // nil: there is none. It is never changed: a configuration, and a grant, bring others
	format        *Format
	model         []byte
	before, after []byte
}

// usual says that a verdict is what limits say mostly.
func usual(v *gate.Verdict) bool {
	return v.Gate == gate.Limits && v.Limit != nil && v.Reason == v.Limit.Unit.Reason && v.Wait > 0 && v.Wait != gate.Never
}

// sayAgain writes the body of a refusal if all but the numbers has been said lately, and says whether it did.
func (r *Reply) sayAgain(v *gate.Verdict, a *About) bool {
	if a.Said == nil || !usual(v) {
		return false
	}
	for i := range a.Said.kept {
		k := &a.Said.kept[i]
		if k.limit == v.Limit && k.format == a.Format && inplace.String(k.model) == a.Model {
			r.Body = append(soon(figures(append(r.Body[:0], k.before...), v), v), k.after...)
			return true
		}
	}
	return false
}

// keep keeps what was just said, for the next one.
func (r *Reply) keep(v *gate.Verdict, a *About) {
	if a.Said == nil || !usual(v) || len(a.Model) > maxShown {
		return
	}
	r.message = soon(figures(r.message[:0], v), v)
	at := bytes.LastIndex(r.Body, r.message) // the last one: a model's name, which a client chooses, stands before it
	if at < 0 {
		return
	}
	k := &a.Said.kept[a.Said.next]
	a.Said.next = (a.Said.next + 1) % len(a.Said.kept)
	k.limit, k.format = v.Limit, a.Format
	k.model = append(k.model[:0], a.Model...)
	k.before = append(k.before[:0], r.Body[:at]...)
	k.after = append(k.after[:0], r.Body[at+len(r.message):]...)
}
