package admit

import (
	"bytes"
	"strings"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/metric"
)

// Which streams are made to report their usage (package usage has the edit itself): not those of an upstream whose
// configuration says no, not those whose sender has signed them, and, for a while, not those of an upstream and model that
// have refused the question.

// question is what a request's stream is asked in its client's place.
type question struct {
	wanted    bool   // the body is kept to its end, since it may have to be changed
	put       bool   // it was changed
	hides     bool   // so the stream brings an event that the client didn't ask for, which is taken out
	onTrial   bool   // the answer is an error, which may be about the question
	complaint []byte // what of it has come
	about     uint64 // the upstream and model, of which a refusal is learned
}

// asks says whether a request may be changed so that its stream reports what it used. Which upstream it is for may not be known
// yet.
func (e *Engine) asks(s *Stream, headers [][2]string) bool {
	return s.upload.reads == allOfIt && s.exchange.Dialect.AsksForUsage && e.asksSome && s.exchange.Length <= int64(e.cfg.Usage.MaxRequestBytes) &&
		identityCoding(s.headers.Get(e.slots.encoding)) && !signed(headers)
}

// asksSome says that there is an upstream whose streams are to report their usage.
func asksSome(cfg *config.Config) bool {
	for i := range cfg.Upstreams {
		if own := cfg.Upstreams[i].EnsureStreamUsage; own != nil && *own {
			return true
		}
	}
	return cfg.Usage.EnsureStreamUsage
}

// asksUpstream says the same of the request's own upstream, and gives its name.
func (e *Engine) asksUpstream(s *Stream) (name string, yes bool) {
	yes = e.cfg.Usage.EnsureStreamUsage
	for i := range e.cfg.Upstreams {
		if u := &e.cfg.Upstreams[i]; config.MatchModel(u.Models, s.exchange.Model) {
			if u.EnsureStreamUsage != nil {
				yes = *u.EnsureStreamUsage
			}
			return u.Name, yes
		}
	}
	return "", yes
}

// edit makes the stream report its usage, if nobody asked for that.
func (e *Engine) edit(s *Stream, now clock.Moment) {
	if !s.question.wanted || s.Refused() {
		return
	}
	s.question.wanted = false
	upstream, yes := e.asksUpstream(s)
	s.question.about = e.refusalKey(upstream, s.exchange.Model)
	if !yes || e.refusals.refuses(s.question.about, now) {
		return
	}
	s.edit = s.request.Ask()
	s.question.put = !s.edit.None()
	s.question.hides = s.question.put || s.leg != nil && s.leg.hiding
	if s.question.put {
		e.out.add(EditRequest, s)
	}
}

// signs says that a header's name goes on, from some place, with what tells of a body's signature or checksum. Every scheme has its own:
// content-digest, digest, content-md5, x-amz-content-sha256, x-amz-checksum-…, signature-input, x-hub-signature-256, x-goog-hash. All names of
// a request are looked at, so they are gone through once, by the letter.
func signs(rest string) bool {
	switch rest[0] {
	case 's':
		return strings.HasPrefix(rest, "signature") || strings.HasPrefix(rest, "sha256") || strings.HasPrefix(rest, "sha512") || strings.HasPrefix(rest, "sha1")
	case 'd':
		return strings.HasPrefix(rest, "digest")
	case 'c':
		return strings.HasPrefix(rest, "checksum") || strings.HasPrefix(rest, "crc") || strings.HasPrefix(rest, "content-hash")
	case 'm':
		return strings.HasPrefix(rest, "md5")
	case 'h':
		return strings.HasPrefix(rest, "hmac")
	case 'b':
		return strings.HasPrefix(rest, "body-hash")
	case 'p':
		return strings.HasPrefix(rest, "payload-hash")
	case 'g':
		return strings.HasPrefix(rest, "goog-hash")
	}
	return false
}

// signed says that a request's sender has signed its body, or may have: whoever checks that would refuse a body that was
// changed. It goes by the names of headers; and by what stands in authorization (AWS4-HMAC-SHA256 …, Signature …, Hawk … mac=…,
// Digest … qop=auth-int) or in the query (X-Amz-Signature=…, Signature=…).
func signed(headers [][2]string) bool {
	for i := range headers {
		if signature(headers[i][0], headers[i][1]) {
			return true
		}
	}
	return false
}

func signature(name, value string) bool {
	switch name {
	case "authorization", "proxy-authorization":
		if bearer(value) { // as nearly all are
			return false
		}
		for _, word := range [...]string{"signature", "hmac", "aws", "mac=", "auth-int"} {
			if mentions(value, word) {
				return true
			}
		}
		return false
	case ":path":
		_, query, _ := strings.Cut(value, "?")
		return mentions(query, "signature")
	}
	for i := range len(name) {
		if signs(name[i:]) {
			return true
		}
	}
	return false
}

// bearer says that what is sent is a token, in whose letters nothing is to be found.
func bearer(value string) bool {
	scheme, _, _ := strings.Cut(strings.TrimSpace(value), " ")
	return strings.EqualFold(scheme, "bearer") || strings.EqualFold(scheme, "basic")
}

// mentions says that a header that is no token has a word in it, in any case.
func mentions(value, word string) bool {
	return value != "" && !bearer(value) && strings.Contains(strings.ToLower(value), word)
}

// signsEncoding says that the sender has signed the header accept-encoding: it can't be changed.
func signsEncoding(headers [][2]string) bool {
	for i := range headers {
		switch headers[i][0] {
		case "authorization", "signature-input", ":path":
			if mentions(headers[i][1], "accept-encoding") {
				return true
			}
		}
	}
	return false
}

// judged takes the status of an answer to a request that was changed: it shows that the upstream takes the question, or its body
// has to be looked at.
func (e *Engine) judged(s *Stream) {
	if !s.question.put || s.foreign() {
		return
	}
	switch {
	case s.exchange.Status < 300:
		e.refusals.took(s.question.about)
	case s.exchange.Status == 400 || s.exchange.Status == 422:
		s.question.onTrial = s.exchange.Readable
	}
}

// mostComplaint bounds what is kept of an error's text, in bytes.
const mostComplaint = 8 << 10

// learnRefusal takes a piece of an error's body, and learns of a refusal when it is complete.
func (e *Engine) learnRefusal(s *Stream, now clock.Moment, piece []byte, end bool) {
	s.question.complaint = append(s.question.complaint, piece[:min(len(piece), mostComplaint-len(s.question.complaint))]...)
	if !end && len(s.question.complaint) < mostComplaint {
		return
	}
	s.question.onTrial = false
	if names(s.question.complaint) && e.refusals.refused(s.question.about, now) {
		e.out.count(metric.Errors("stream_options_refused"), 1)
		e.out.warn("an upstream refused stream_options, which was added to a request for the model " + safeLabel(s.exchange.Model) +
			": for ten minutes its streams are counted instead. To say so for good, set ensureStreamUsage: false at the upstream")
	}
	s.question.complaint = nil
}

// names says that an error is about what was added, the member or what is in it. Errors also repeat the request as it came, with what
// was added in it: there it is followed by its value.
func names(text []byte) bool {
	return mentionsAlone(text, "stream_options", "{") || mentionsAlone(text, "include_usage", "true")
}

// mentionsAlone says that a member stands somewhere without its value.
func mentionsAlone(text []byte, member, value string) bool {
	for {
		at := bytes.Index(text, []byte(member))
		if at < 0 {
			return false
		}
		text = bytes.TrimLeft(text[at+len(member):], "\\\"'` ")
		after := bytes.TrimLeft(text, ":= ")
		start := after[:min(len(after), len(value))]
		repeated := len(after) < len(text) && (len(after) == 0 || strings.EqualFold(string(start), value) || text[0] == '=')
		if !repeated {
			return true
		}
	}
}

// refusals are what is known of upstreams and models that refuse the question, at most mostRefusals of them, in one worker.
//
// A client must not be able to have it left out for everybody, by provoking errors of its own. So an error has to name what was
// added; where the question was taken before, three have to in a row, with none taken in between; and the refusal is
// forgotten after refusalTime, when the next stream asks again.
type refusals map[uint64]*refusal

type refusal struct {
	taken   bool
	refused int
	until   clock.Moment
}

const (
	mostRefusals = 256
	refusalTime  = 10 * time.Minute
	inARow       = 3
)

func (e *Engine) refusalKey(upstream, model string) uint64 {
	e.scratch = append(append(append(append(e.scratch[:0], "ask\x00"...), upstream...), 0), model...)
	return uint64(e.table.Hash(e.scratch))
}

func (l refusals) refuses(key uint64, now clock.Moment) bool {
	known := l[key]
	return known != nil && now < known.until
}

func (l refusals) took(key uint64) { *l.of(key) = refusal{taken: true} }

// refused takes a refusal, and says whether the question is left out from here on.
func (l refusals) refused(key uint64, now clock.Moment) bool {
	known := l.of(key)
	if known.refused++; known.taken && known.refused < inARow {
		return false
	}
	*known = refusal{until: now.Add(refusalTime)}
	return true
}

// of gives what is known, at the cost of any other.
func (l refusals) of(key uint64) *refusal {
	if known := l[key]; known != nil {
		return known
	}
	if len(l) >= mostRefusals {
		for other := range l {
			delete(l, other)
			break
		}
	}
	l[key] = &refusal{}
	return l[key]
}
