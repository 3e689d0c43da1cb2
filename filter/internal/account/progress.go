package account

import (
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/usage"
)

// Progress takes note of a piece of the answer's body that the reader has just read, and says whether it has brought output of a stream, and
// whether that was the first.
func (x *Exchange) Progress(now clock.Moment) (output, first bool) {
	if x.Stream = x.Reader.Streams(x.Stream); !x.Stream {
		return false, false
	}
	outputs := x.Reader.Outputs()
	if outputs <= x.Outputs {
		return false, false
	}
	if first = x.Outputs == 0; first {
		x.First = now
	}
	x.Outputs, x.Last = outputs, now
	return true, first
}

// Passed is how many completion tokens of a stream have passed so far. news says that these are more or fewer than it said last.
func (a *Accountant) Passed(x *Exchange, now clock.Moment) (tokens int64, news bool) {
	if !x.Stream {
		return 0, false
	}
	r := x.Reader.Response()
	tokens = a.soFar(x, now, &r)
	news, x.told = tokens != x.told, tokens
	return tokens, news
}

// soFar is how many tokens of a stream have passed. A server that reports as it goes is believed, within what is plausible;
// else the text is counted (passed).
func (a *Accountant) soFar(x *Exchange, now clock.Moment, r *usage.Response) int64 {
	said := r.Tokens.Completion // Absent is below all
	if said != usage.Absent {
		said = min(said, x.plausible(now).Completion)
	}
	if said != usage.Absent && !x.Dialect.Cumulative {
		return said
	}
	return max(a.passed(x, now, r), said)
}

// passed counts what has passed of a stream, by what the model's earlier responses took for as much text. Before the first of
// these its pieces count, of a token each, or of a token for eight bytes where that is more; where a dialect puts several into
// a piece, the rule of thumb is four bytes a token. Events whose output, if any, is of an unknown form count as a piece each, or
// by their size up to what is expected of the model.
func (a *Accountant) passed(x *Exchange, now clock.Moment, r *usage.Response) int64 {
	tokens := max(r.Outputs, r.Text/8)
	if !x.Dialect.TokenPerPiece {
		tokens = max(r.Outputs, (r.Text+3)/4)
	}
	id := a.learner(x)
	if learned, known := a.learned.Text(now, id.model, id.subject, r.Text); known && r.Text > 0 {
		tokens = learned
	}
	if r.Unknown == 0 {
		return tokens
	}
	most := max(r.Unknown, a.Expect(x, now).Output)
	return max(tokens, min(r.Unknown+r.UnknownText/4, most))
}
