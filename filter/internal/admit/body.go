package admit

import (
	"strconv"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/metric"
	"github.com/spillway-proxy/spillway/filter/internal/usage"
)

// How a request's body is read, and what becomes of a request whose model can't be told.
//
// A body is read up to usage.maxRequestBytes, and decided by what was found until then. Where the model makes a difference the
// rest is looked through as it passes, which keeps nothing: a body that turns out to name another model than the one by which
// it was decided is refused there, before its server has the whole of it. Else the cheaper of two names could be put where the
// filter still looks, and the one that counts behind it.

// announcedHead is how much is read at most before a decision of a body that is announced to be too large to be read: it isn't
// worth holding for longer than its model takes, and the proxy may not be able to.
const announcedHead = 64 << 10

// form is how the request's body is packed. Of a header that comes twice, servers may take either.
func (e *Engine) form(s *Stream) usage.Form {
	if s.headers.Repeated(e.slots.encoding) || s.headers.Repeated(e.slots.contentType) {
		return usage.Form{Odd: true}
	}
	return usage.NewForm(s.headers.Get(e.slots.encoding), s.headers.Get(e.slots.contentType))
}

// readAtOnce bounds what of a body is asked of the host at a time, in bytes. Now and then an event brings megabytes, for which a
// worker would have to find room in one piece.
const readAtOnce = 64 << 10

// part is what follows byte from of the size bytes that an event has brought, or as much of it as is read at a time.
func (e *Engine) part(from, size int) []byte { return e.host.Piece(from, min(size-from, readAtOnce)) }

// take reads a piece of the body.
func (e *Engine) take(s *Stream, size int) {
	if !s.wants() {
		s.exchange.Asked.Bytes += int64(size)
		return
	}
	for from := 0; from < size; {
		piece := e.part(from, size)
		if len(piece) == 0 {
			break
		}
		s.request.Write(piece)
		from += len(piece)
	}
	if s.upload.reads == allOfIt && e.enough(s) {
		s.upload.reads, s.question.wanted = nothingOfIt, false
		s.exchange.Asked = s.request.Cut()
		if s.modelMatters && s.exchange.Asked.Route == "" && s.request.Wanting() {
			s.upload.reads = itsModel
		}
	}
}

// enough says that the body is decided by what was read of it.
func (e *Engine) enough(s *Stream) bool {
	read, most := s.request.Bytes(), int64(e.cfg.Usage.MaxRequestBytes)
	switch {
	case !s.request.Wanting() || read > most:
		return true
	case s.request.Upload() || s.exchange.Length > most:
		name, _ := s.request.Model()
		return name != "" || !s.modelMatters || s.exchange.Length > most && read >= announcedHead
	default:
		return false
	}
}

// checkRest looks at what the rest of a body says of its model, and says whether the request was refused for it.
func (e *Engine) checkRest(s *Stream, now clock.Moment, end bool) bool {
	name, unread := s.request.Model()
	decidedBy := s.exchange.Asked
	if end || !s.request.Wanting() {
		s.upload.reads = nothingOfIt
		s.exchange.Asked = s.request.Close()
		name, unread = s.exchange.Asked.Model, s.exchange.Asked.Unread
		e.setModel(s)
	}
	if decidedBy.Unread != "" || name == decidedBy.Model && unread == "" {
		return false
	}
	s.upload.reads = nothingOfIt
	return e.changed(s, now)
}

// changed refuses a request whose body says another model, or one that can't be told, behind what it was decided by.
func (e *Engine) changed(s *Stream, now clock.Moment) bool {
	e.noteUnread(s, changedModel)
	if e.cfg.Mode != config.Enforce || s.phase != stQueued && s.phase != stSent || s.exchange.Answered() {
		return false
	}
	e.refuseModel(s, now, changedModel)
	return true
}

// changedModel is a reason beside those of package usage.
const changedModel usage.Unread = "changed"

// wantsModel says that a request has to have a model, whatever depends on it.
func (e *Engine) wantsModel(s *Stream) bool {
	return e.cfg.Models.Unread == config.UnreadReject && s.exchange.Asked.Route == "" && e.cfg.Mode != config.Off
}

// refuseUnread deals with a request that is being decided and whose model can't be told, and says whether it was refused.
func (e *Engine) refuseUnread(s *Stream, now clock.Moment) bool {
	if !s.modelMatters || s.upload.reads == allOfIt || s.exchange.Asked.Unread == "" || e.cfg.Mode == config.Off {
		return false
	}
	if e.cfg.Models.Unread == config.UnreadReject && e.cfg.Mode == config.Enforce {
		e.refuseModel(s, now, s.exchange.Asked.Unread)
		return true
	}
	s.anyModel = e.standIn == ""
	e.noteUnread(s, s.exchange.Asked.Unread)
	if e.cfg.Models.Unread == config.UnreadReject {
		v := gate.Because(gate.Shadowed, gate.Model, string(s.exchange.Asked.Unread))
		s.note(&v)
	}
	return false
}

// noteUnread counts it, and says so in the log the first time that it happens for the reason.
func (e *Engine) noteUnread(s *Stream, why usage.Unread) {
	e.out.count(metric.Uncharged("model_unread"), 1)
	if !e.warned[why] {
		e.warned[why] = true
		e.out.warn("a request's model can't be told: " + e.explain(why) + " It is treated as models.unread says; from here on such" +
			" requests are only counted, in spillway_uncharged_total{reason=\"model_unread\"}")
	}
}

// refuseModel answers a request whose model can't be told.
func (e *Engine) refuseModel(s *Stream, now clock.Moment, why usage.Unread) {
	v := unfit(gate.Model, string(why), "The model can't be told: "+e.explain(why))
	e.refuse(s, now, &v)
}

// explain says what is wrong with a body, and what would be right.
func (e *Engine) explain(why usage.Unread) string {
	most := strconv.Itoa(e.cfg.Usage.MaxRequestBytes)
	switch why {
	case usage.NoBody:
		return "the request has no body that is read. Send a JSON object with \"model\"."
	case usage.Missing:
		return "the body names none. Send its name as \"model\"."
	case usage.TooLarge:
		return "the body names none in its first part, and is larger than the " + most + " bytes that are read. Put \"model\" first, or send less."
	case usage.Encoded:
		return "the body's content-encoding or charset isn't read here. Send UTF-8, as it is or compressed by gzip or deflate."
	case usage.Ambiguous:
		return "the body names more than one, or others that may serve in its place. Send one \"model\"."
	case usage.Undescribed:
		return "nothing here says how requests of its path are read. " + nameThePath
	case usage.NameTooLong:
		return "its name is longer than 256 bytes. Send a shorter one."
	case changedModel:
		return "what follows the first part of a large body names another one, or isn't JSON. Send one \"model\", before everything else."
	default:
		return "the body can't be read to its end. Send valid JSON."
	}
}
