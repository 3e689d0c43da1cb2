package admit

import (
	"math"
	"strconv"
	"strings"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/admin"
	"github.com/spillway-proxy/spillway/filter/internal/bucket"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/heavy"
	"github.com/spillway-proxy/spillway/filter/internal/inplace"
	"github.com/spillway-proxy/spillway/filter/internal/journal"
	"github.com/spillway-proxy/spillway/filter/internal/record"
)

// Two lists of the admin surface: the heaviest subjects of a limit (package heavy), and the latest refusals (package journal). What happens is noted in the
// worker's memory while somebody can ask (notes); it is told to the others once a second, with the beat, if there is news, in records by the
// worker's place; and put together by whoever is asked. So a request costs no call of the host's for it, and where nobody can ask, nothing.

// notes says that what happens is noted for the lists: there is an admin surface, of the gateway's own or, as the last beat has found, of another listener;
// or that can't be known yet.
func (e *Engine) notes() bool {
	return e.beat.steers || e.beat.beats < firstBeats || e.surface.server != nil
}

// enter notes a request in the journal that was refused, or would have been if it were not for shadow mode.
func (e *Engine) enter(s *Stream, now clock.Moment) {
	if !e.notes() {
		return
	}
	d, r := &s.decision, s.facts(true)
	e.scratch = d.Text.Append(e.scratch[:0])
	subject := len(e.scratch)
	if d.Limit != nil {
		e.scratch = e.limits.AppendSubject(e.scratch, d.Limit, r)
	} else {
		e.scratch = e.limits.AppendCaller(e.scratch, r)
	}
	e.entry = journal.Entry{At: now, Wait: max(d.Wait, 0), Outcome: d.Outcome, Priority: s.caller.Priority, Gate: d.Gate, Reason: d.Reason,
		Subject: inplace.String(e.scratch[subject:]), Model: s.exchange.Model}
	if subject > 0 {
		e.entry.Reason = inplace.String(e.scratch[:subject])
	}
	if d.Limit != nil {
		e.entry.Limit = d.Limit.Name
	}
	if s.upstream != nil {
		e.entry.Upstream = s.upstream.name
	}
	if e.worker.journal == nil {
		e.worker.journal = &journal.Ring{}
	}
	e.worker.journal.Add(&e.entry)
}

// tell tells the others what there is new of the subjects and the journal.
func (e *Engine) tell(now clock.Moment) error {
	b := &e.beat
	place := b.roster.Place()
	if place < 0 {
		return nil
	}
	err := e.limits.Tell(now, e.worker.id, func(number int, record []byte) error { return e.put(e.subjectsKey(place, number), record) })
	if ring := e.worker.journal; err == nil && ring != nil && ring.Changes != b.told {
		b.record = ring.AppendRecord(b.record[:0], e.worker.id, now)
		if err = e.put(e.journalKey(place), b.record); err == nil {
			b.told = ring.Changes
		}
	}
	return err
}

// put writes a record whatever it was.
func (e *Engine) put(key string, value []byte) error {
	u := record.Open(e.host, key)
	for u.Read() {
		u.Write(value)
	}
	return u.Err()
}

func (e *Engine) subjectsKey(place, number int) string {
	return e.cfg.Namespace + "/h1/" + strconv.Itoa(place) + "/" + strconv.Itoa(number)
}

func (e *Engine) journalKey(place int) string { return e.cfg.Namespace + "/j1/" + strconv.Itoa(place) }

// collect gives the records of all places.
func (e *Engine) collect(key func(place int) string) (records [][]byte) {
	places, err := e.beat.roster.Places()
	for place := 0; place < places && err == nil; place++ {
		var value []byte
		if value, _, _, err = e.host.Get(key(place)); len(value) > 0 {
			records = append(records, append([]byte(nil), value...))
		}
	}
	if err != nil {
		e.storeFailed("the records of the workers can't be read", err)
	}
	return records
}

// list is what the workers tell, put together. It serves all who ask for it within statusPeriod.
type list struct {
	of       uint64 // what tells the limit from others; ofDecisions
	at       clock.Moment
	subjects heavy.Merged
	entries  []journal.Entry
}

const (
	ofDecisions = 0
	mostLists   = 16 // are kept; of more, the one that was made first makes room
)

// list gives the list of something; fresh says that it needn't be made.
func (x *surface) list(of uint64) (l *list, fresh bool) {
	place := 0
	for i := range x.lists {
		l = &x.lists[i]
		if l.of == of {
			age := x.now.Sub(l.at)
			if fresh = age >= 0 && age < statusPeriod; !fresh {
				*l = list{of: of, at: x.now}
			}
			return l, fresh
		}
		if l.at < x.lists[place].at {
			place = i
		}
	}
	if len(x.lists) < mostLists {
		place = len(x.lists)
		x.lists = append(x.lists, list{})
	}
	x.lists[place] = list{of: of, at: x.now}
	return &x.lists[place], false
}

// count reads a parameter of the query that is a number from 1 to 100; if it isn't, the answer says so.
func count(r *admin.Request, a *admin.Answer, name string, otherwise int) (n int, sound bool) {
	text := r.Query(name)
	if text == "" {
		return otherwise, true
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > 100 {
		a.Error(422, name, "want a whole number from 1 to 100")
		return 0, false
	}
	return n, true
}

// showSubjects says who uses most of a limit, and whom it refuses most often.
func (e *Engine) showSubjects(r *admin.Request, a *admin.Answer) {
	const usual = 20
	x := &e.surface
	top, sound := count(r, a, "top", usual)
	if !sound {
		return
	}
	g, name := e.gateway(), r.Query("limit")
	if g == nil {
		a.Error(404, "limit", "no gateway has told of its limits yet")
		return
	}
	number, id, on := g.limits.Number(name)
	if !on {
		var names []string
		for i := range g.cfg.Limits {
			names = append(names, g.cfg.Limits[i].Name)
		}
		a.Error(404, "limit", "want a limit that is on, of these: "+strings.Join(names, ", "))
		return
	}
	l, fresh := x.list(id)
	if !fresh {
		l.subjects = heavy.Merge(x.now, id, e.collect(func(place int) string { return e.subjectsKey(place, number) }))
	}
	merged := &l.subjects
	v := viewer{Engine: g, now: x.now, wall: e.host.Wall()}
	var j admin.JSON
	j.Object()
	j.Member("limit", name)
	j.MemberInt("workers", int64(merged.Workers))
	j.MemberInt("halvedEverySeconds", int64(heavy.HalfLife.Seconds()))
	unit := g.limits.Unit(number)
	memberUsed(&j, "usedError", merged.UsedError, unit)
	j.MemberFloat("refusedError", merged.RefusedError)
	v.subjects(&j, "subjects", merged.TopByUse(top), unit)
	v.subjects(&j, "mostRefused", merged.TopByRefusals(top), unit)
	j.EndObject()
	a.Tagged(r, j.Bytes(), tagOf(j.Bytes()))
}

// memberUsed writes what was used, in a unit's millionths, of which one is a billionth of a dollar.
func memberUsed(j *admin.JSON, key string, used float64, unit *config.Unit) {
	if unit.Money() {
		j.MemberAmount(key, int64(math.Round(min(used, float64(bucket.Most)))), unit)
		return
	}
	j.MemberFloat(key, used/bucket.Micro)
}

func (v *viewer) subjects(j *admin.JSON, key string, subjects []heavy.Subject, unit *config.Unit) {
	j.Key(key)
	j.Array()
	for i := range subjects {
		s := &subjects[i]
		j.Object()
		j.Member("subject", s.Name)
		memberUsed(j, "used", s.Used.Low, unit)
		memberUsed(j, "usedAtMost", s.Used.High, unit)
		j.MemberFloat("refused", s.Refused.Low)
		j.MemberFloat("refusedAtMost", s.Refused.High)
		j.Key("lastRefusal")
		if s.Reason == "" {
			j.Null()
		} else {
			j.Object()
			j.Key("time")
			j.Time(v.time(s.Last))
			j.Member("reason", s.Reason)
			j.EndObject()
		}
		j.EndObject()
	}
	j.EndArray()
}

// showDecisions says what was refused last, or would have been in shadow mode.
func (e *Engine) showDecisions(r *admin.Request, a *admin.Answer) {
	x := &e.surface
	last, sound := count(r, a, "last", journal.Last)
	if !sound {
		return
	}
	l, fresh := x.list(ofDecisions)
	if !fresh {
		l.entries = journal.Merge(e.collect(e.journalKey), journal.Last)
	}
	v := viewer{Engine: e, now: x.now, wall: e.host.Wall()}
	var j admin.JSON
	j.Object()
	j.Key("decisions")
	j.Array()
	for i := range min(last, len(l.entries)) {
		v.decision(&j, &l.entries[i])
	}
	j.EndArray()
	j.EndObject()
	a.Tagged(r, j.Bytes(), tagOf(j.Bytes()))
}

func (v *viewer) decision(j *admin.JSON, d *journal.Entry) {
	j.Object()
	j.Key("time")
	j.Time(v.time(d.At))
	for _, m := range [...][2]string{{"decision", d.Outcome.String()}, {"gate", d.Gate}, {"reason", d.Reason}, {"subject", d.Subject}, {"limit", d.Limit},
		{"model", d.Model}, {"upstream", d.Upstream}, {"priority", d.Priority.String()}} {
		if j.Key(m[0]); m[1] == "" {
			j.Null()
		} else {
			j.String(m[1])
		}
	}
	j.MemberBool("retryable", d.Wait != gate.Never)
	if j.Key("retryAfterSeconds"); d.Wait == 0 || d.Wait == gate.Never {
		j.Null()
	} else {
		j.Float(d.Wait.Seconds())
	}
	j.EndObject()
}
