package admit

import (
	"strconv"
	"strings"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/config/filterstate"
	"github.com/spillway-proxy/spillway/filter/internal/account"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/dispatch"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/health"
	"github.com/spillway-proxy/spillway/filter/internal/ident"
	"github.com/spillway-proxy/spillway/filter/internal/limit"
	"github.com/spillway-proxy/spillway/filter/internal/metric"
	"github.com/spillway-proxy/spillway/filter/internal/reply"
	"github.com/spillway-proxy/spillway/filter/internal/usage"
)

// Stream is one request and its response.
type Stream struct {
	// The binding's: the host's name for the stream, and that it was let go on since its last callback.
	ID      uint32
	Resumed bool

	// What a stream leaves to the next one that uses its memory.
	headers      ident.Headers // of the request
	response     ident.Headers // of its answer
	request      usage.RequestReader
	exchange     account.Exchange // what is known of the request and its answer
	charges      []limit.Charge
	verdict      gate.Verdict // of the gate that is being asked
	settlement   account.Settlement
	reply        reply.Reply
	edit         usage.Edit
	body         []byte
	limitRequest limit.Request
	sets         [streamSets]membership

	course
}

// course is what belongs to one request and its response alone.
type course struct {
	rules  *rules // by which it is led; nil: none of its events has been handled yet
	phase  phase
	action action // what becomes of it by the event that is being handled
	owed   bool   // it is refused, and its answer waits for the next tick
	drains bool   // it is refused, and its answer waits for its body
	fault  bool   // an event of it came to no end

	operation, method string
	caller            ident.Caller
	subject           uint64        // of the caller, for the upstream; 0: not asked for yet
	keyed             bool          // that one has a key
	patience          time.Duration // how long it is willing to wait for its turn (dispatch.Ticket)
	preflight         bool          // it is let pass, whoever asks
	leg               *leg          // what an earlier leg of the request has left
	modelMatters      bool          // which model it is for makes a difference
	anyModel          bool          // it was decided as one that may be for any model
	estimated         bool          // limits may apply to it for which it matters what it is expected to use
	upload            upload
	question          question

	wouldRefuse      gate.Verdict // why it would be refused before any gate is asked, were it not for shadow mode
	decision         gate.Verdict
	counted          bool          // in the requests metric
	requests, tokens gate.Headroom // of the tightest limits
	leased           bool          // its requests are charged as leases, until it is sent
	nearly           bool          // little was left of a limit that it is charged to

	upstream   *upstream      // whose gates the request stands at, or went through; nil: none
	tracked    bool           // the upstream's gates that learn wait for its end
	track      health.Request // what they know of it
	ticket     dispatch.Ticket
	leaseBy    clock.Moment    // until when it waits for a lease of the fleet's; 0: it doesn't, and didn't
	pastQueue  string          // why it waits past the queue; "": it does not
	answer     dispatch.Answer // what its answer says of the upstream's limits
	pace       pace
	told       clock.Moment // when the filter state was told last of what has passed; 0: it was not
	farewell   farewell     // it is being ended for an urgent request
	farewellBy clock.Moment // when it is broken off whether that can be told or not
	torn       bool         // the upstream broke the response off
	restated   restated

	admin *adminCall // it is a request to the admin surface; nil: it is not
}

type phase uint8

const (
	stNew     phase = iota
	stHolding       // undecided, waiting for the body
	stQueued        // admitted, and not sent: all of it has to come, and then its turn at its upstream
	stSent          // it has gone on to the upstream; it is responding from when there is a status
	stDone          // refused, sent and settled, or left
)

// Reset makes a stream that has ended ready for another one.
func (s *Stream) Reset(id uint32) {
	s.ID, s.Resumed, s.charges, s.course = id, false, s.charges[:0], course{}
	s.exchange.Reset()
	s.caller.Priority = config.Normal
}

// RequestHeaders takes a request's headers; end says that no body follows.
func (e *Engine) RequestHeaders(s *Stream, now clock.Moment, end bool) {
	s.exchange.Since = now // first: whatever the headers bring about, the request has come
	if !e.worker.wall.Known() {
		e.readWall(now)
	}
	e.worker.served = true
	e.begin(s)
	e.requestHeaders(s, now, end)
	if s.action == isAnswered && !end {
		e.drain(s, now)
	}
	e.end(s, now)
}

func (e *Engine) requestHeaders(s *Stream, now clock.Moment, end bool) {
	headers := e.host.Headers()
	e.picker.Pick(headers, &s.headers)
	if path := s.headers.Get(e.slots.path); e.surface.server.Owns(path) {
		e.adminHeaders(s, now, path, end)
	} else {
		e.trafficHeaders(s, now, path, headers, end)
	}
}

// trafficHeaders takes the headers of a request that is no admin's.
func (e *Engine) trafficHeaders(s *Stream, now clock.Moment, path string, headers [][2]string, end bool) {
	if end {
		s.uploaded(now)
	}
	s.method = s.headers.Get(e.slots.method)
	s.exchange.Length = contentLength(s.headers.Get(e.slots.length))
	s.exchange.Dialect, s.operation = e.operations.Find(path)
	if s.exchange.Dialect != nil && !e.governed(s, end) {
		s.exchange.Dialect = nil
	}
	s.preflight = e.preflight(s, end)
	if e.refusesHeaders(s, now, path, end) {
		return
	}
	if e.endedLeg != nil {
		e.resume(s, headers)
	}
	e.hideOurs(s)
	s.upload.open = s.exchange.Dialect != nil && !end
	if s.upload.open && e.cfg.Usage.MaxRequestBytes > 0 {
		s.upload.reads = allOfIt
	}
	if s.exchange.Dialect != nil {
		s.exchange.Asked = e.operations.FromPath(s.exchange.Dialect, path)
		if !e.prepare(s, headers) {
			headers = nil
		}
	}
	switch e.scheduleDecision(s, now, headers); {
	case s.upload.reads != allOfIt:
	case s.Refused():
		s.upload.reads = nothingOfIt
	default:
		s.request.Reset(s.exchange.Dialect, s.exchange.Asked, e.form(s), int64(e.cfg.Usage.MaxRequestBytes))
	}
}

// refusesHeaders refuses a request for what its headers say of it, and says whether it did.
func (e *Engine) refusesHeaders(s *Stream, now clock.Moment, path string, end bool) bool {
	var refusal *ident.Refusal
	if s.caller, refusal = e.identity.Read(&s.headers); refusal != nil && e.cfg.Mode != config.Off && !e.excused(s, refusal, path, end) {
		if e.refuseIdentity(s, now, refusal) {
			return true
		}
	}
	if e.unknown(s, path, end) && e.refuseUnknown(s, now) {
		return true
	}
	return s.exchange.Dialect != nil && !e.readPatience(s) && e.refusePatience(s, now)
}

// hideOurs takes the headers out of the request that are for us: those that the upstream isn't to see, or to believe.
func (e *Engine) hideOurs(s *Stream) {
	if name := e.cfg.Priority.Header; name != "" && (!e.cfg.Priority.Forward || s.caller.Untrusted) && s.headers.Get(e.slots.priority) != "" {
		e.out.setRequestHeader(s, name, "")
	}
	if s.caller.Untrusted && len(e.cfg.Priority.Objectives) > 0 {
		if values := s.headers.Values(e.slots.objective); values.Next() {
			e.out.setRequestHeader(s, e.cfg.Priority.ObjectiveHeader, "")
		}
	}
	if !e.cfg.Priority.Forward {
		e.hidePatience(s)
	}
	e.hideRouteHeaders(s)
}

// prepare makes the response readable, and says whether it can: else there is no use in asking a stream for its usage.
func (e *Engine) prepare(s *Stream, headers [][2]string) (readable bool) {
	if e.cfg.Mode == config.Off {
		return false
	}
	readable = identityCoding(s.headers.Get(e.slots.accept)) && !s.headers.Repeated(e.slots.accept)
	if !readable && e.cfg.Usage.IdentityEncoding && !signsEncoding(headers) {
		e.requestIdentityEncoding(s)
		readable = true
	}
	return readable
}

// requestIdentityEncoding asks the upstream for an answer that is not compressed.
func (e *Engine) requestIdentityEncoding(s *Stream) {
	const name = "accept-encoding"
	if s.headers.Repeated(e.slots.accept) { // the host would set the first one only
		e.out.setRequestHeader(s, name, "")
		return
	}
	e.out.setRequestHeader(s, name, "identity")
}

// Fault says that an event of the stream came to no end: it passes from here on, and what the event had brought about for it is dropped. No other
// event, and no tick, answers it or lets it go on; what it holds is given back at its end. The room that it had made at
// upstreams is for the next tick: at the end of the next event it could be the turn of that event's own stream, which was just told to wait.
func (e *Engine) Fault(s *Stream) {
	s.fault, e.current = true, nil
	e.use(e.latest)
	e.out.drop(s)
	e.forget(s)
	e.guard.holding.remove(s)
	e.endAwait(s)
	if s.admin != nil {
		e.faultAdmin(s)
	}
	if s.ticket.Waiting() {
		s.upstream.queue.Leave(&s.ticket)
	}
	for _, u := range e.sites {
		u.slotFreed = false
	}
}

// Refused says that the request was answered by us: what comes back as its response is that answer.
func (s *Stream) Refused() bool { return s.decision.Outcome.Refuses() }

// follows says that the request's body is of interest, if only for its size.
func (s *Stream) follows() bool {
	return s.wants() || s.upload.open || s.exchange.Dialect != nil && s.exchange.Length < 0
}

// Waiting says that the request waits: for its turn at its upstream, or for a lease.
func (s *Stream) Waiting() bool { return s.ticket.Waiting() || s.sets[inAwaiting].member }

// Decided says that the request was admitted or refused, or has ended.
func (s *Stream) Decided() bool { return s.phase >= stQueued }

// begun says that the request's headers have come.
func (s *Stream) begun() bool { return s.exchange.Since != 0 }

// ended says that nothing is left to be done for the stream.
func (s *Stream) ended() bool { return s.counted && s.phase == stDone }

// wants says whether the request's body is of interest.
func (s *Stream) wants() bool { return s.upload.reads != nothingOfIt }

// setModel takes over what the body said about the model.
func (e *Engine) setModel(s *Stream) {
	if s.exchange.Asked.Model != "" {
		e.out.set(s, filterstate.RequestModel, s.exchange.Asked.Model)
	}
	e.resolveModel(s)
}

// resolveModel finds the model whose limits apply; "" where it can't be told, or not yet.
func (e *Engine) resolveModel(s *Stream) {
	model := s.exchange.Asked.Model
	switch {
	case s.exchange.Asked.Route != "":
		model = s.exchange.Asked.Route // or a body could name another model than the one it is sent to, and its limits
	case s.exchange.Asked.Unread != "" && s.upload.reads != allOfIt && s.exchange.Dialect != nil:
		model = e.standIn
	}
	s.exchange.Identify(e.canonical(model), [...]string{s.caller.Tenant, s.caller.User, s.caller.Key})
}

// decide admits or refuses with what is known.
func (e *Engine) decide(s *Stream, now clock.Moment) {
	e.guard.holding.remove(s)
	e.setModel(s)
	e.out.set(s, filterstate.Operation, s.operation)
	e.out.set(s, filterstate.Priority, s.caller.Priority.String())
	s.phase, s.decision = stQueued, s.wouldRefuse
	if s.exchange.Dialect == nil && strings.EqualFold(s.method, "POST") {
		e.out.count(metric.Uncharged("unknown_path"), 1)
	}
	if e.refuseUnread(s, now) {
		return
	}
	e.assign(s, now)
	if !e.refuseShut(s, now) {
		e.passes(s, now, false)
	}
}

// refuseIdentity answers a request whose caller can't be told; in shadow mode that is only recorded.
func (e *Engine) refuseIdentity(s *Stream, now clock.Moment, r *ident.Refusal) bool {
	if e.cfg.Mode == config.Shadow {
		s.wouldRefuse = gate.Because(gate.Shadowed, gate.Identity, r.Reason)
		return false
	}
	what := "header " + r.Header
	if strings.HasPrefix(r.Header, "cookie ") || strings.HasPrefix(r.Header, "attribute ") {
		what = r.Header
	}
	var message string
	switch {
	case r.Missing && r.Header == config.PerGroup:
		message = "This key or user is in no group, and the group says whose limits apply."
	case r.Missing:
		message = "The " + what + " is missing: it says whose limits apply. Send it."
	case r.Reason == "conflicting_keys":
		message = r.Header + " hold different API keys, and which of them counts can't be known. Send one."
	default:
		message = "The " + what + " was sent more than once, or holds more than one value. Send one."
	}
	v := unfit(gate.Identity, r.Reason, message)
	e.refuse(s, now, &v)
	return true
}

// facts is what the limits see of the request.
func (s *Stream) facts(modelKnown bool) *limit.Request {
	s.limitRequest = limit.Request{
		Caller: s.caller, Operation: s.operation, Model: s.exchange.Model, ModelKnown: modelKnown, ModelUnread: s.anyModel,
		Tokens: s.exchange.Dialect != nil, NoOutput: s.exchange.Dialect != nil && !s.exchange.Dialect.Outputs, Headers: &s.headers,
	}
	return &s.limitRequest
}

// demand is facts with what the request is expected to use, if that matters.
func (e *Engine) demand(s *Stream, now clock.Moment) *limit.Request {
	r := s.facts(true)
	if r.Waits = s.leased; s.estimated {
		r.Estimate = limit.Estimate(e.accountant.Expect(&s.exchange, now))
	}
	r.Again, r.Waited = s.leaseBy != 0, s.leaseBy != 0 && now >= s.leaseBy
	return r
}

func contentLength(value string) int64 {
	if value == "" {
		return -1
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < 0 {
		return -1
	}
	return n
}

// identityCoding says that a content-encoding leaves the body readable.
func identityCoding(encoding string) bool {
	return encoding == "" || strings.EqualFold(encoding, "identity")
}
