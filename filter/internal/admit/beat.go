package admit

import (
	"encoding/binary"
	"strconv"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/estimate"
	"github.com/spillway-proxy/spillway/filter/internal/heavy"
	"github.com/spillway-proxy/spillway/filter/internal/journal"
	"github.com/spillway-proxy/spillway/filter/internal/record"
	"github.com/spillway-proxy/spillway/filter/internal/roster"
	"github.com/spillway-proxy/spillway/filter/internal/usage"
)

// Worker is what one worker keeps for all configurations that it lives through.
type Worker struct {
	Version string // of the build; "": a developer's
	learned estimate.Learned
	id      uint64 // no other worker's; 0: not known yet
	served  bool   // it has had a request
	wall    clock.Wall
	heavy   heavy.Book
	journal *journal.Ring // nil: nothing was refused yet
}

// beatPeriod is how often a worker looks whether anybody wants to know of it, and tells the others.
const beatPeriod = time.Second

// followPeriod is how often a worker looks for what an operator has changed, while there is an admin surface: overrides, drains and grants.
const followPeriod = beatPeriod / 4

// wanted is how long somebody's wish to know holds.
const wanted = 10 * time.Second

// firstBeats is how many beats it takes to know that nobody can ask: for so long somebody's wish may be on its way.
const firstBeats = int(wanted / beatPeriod)

// beat is what a worker does once a second beside all traffic: it tells how it stands, while there is an admin surface that wants to know.
type beat struct {
	roster *roster.Roster
	at     clock.Moment // the last one
	beats  int          // so far, firstBeats at most
	looked clock.Moment // when it was looked last for what an operator has changed
	steers bool         // there was an admin surface, at the last beat
	rivals rivals
	asked  string // the key of the wish
	told   uint32 // the worker's journal's Changes, when it was told last
	record []byte
}

// The counts that workers tell: requests by outcome, and tokens.
const (
	countPrompt = len(outcomes) + iota
	countCompletion
	countTotal
	counted
)

// tokens counts what a request has used.
func (b *beat) tokens(used *usage.Tokens) {
	counts := b.roster.Counts
	counts[countPrompt] += used.Prompt
	counts[countCompletion] += used.Completion
	counts[countTotal] += used.Total
}

func (e *Engine) newBeat(w *Worker, random []byte) {
	id := binary.LittleEndian.Uint64(random) ^ binary.LittleEndian.Uint64(random[8:]) | 1
	if w.id == 0 {
		w.id = id
	}
	e.beat = beat{roster: roster.New(e.host, e.cfg.Namespace, id, w.id, counted), asked: e.cfg.Namespace + "/admin/asked"}
}

// IsGateway says that the configuration governs a gateway: that it is not of an admin listener, which has nothing else.
func (e *Engine) IsGateway() bool { return e.gateways }

// beatDue says that a second has passed since the last beat.
func (e *Engine) beatDue(now clock.Moment) bool {
	age := now.Sub(e.beat.at)
	return e.beat.at == 0 || age < 0 || age >= beatPeriod
}

// readWall reads the wall clock. Later events go by it.
func (e *Engine) readWall(now clock.Moment) { e.worker.wall.Read(now, e.host.Wall()) }

// tickFollow brings into force what an operator has changed. It says whether overrides are others now.
func (e *Engine) tickFollow(now clock.Moment) (news bool) {
	if age := now.Sub(e.beat.looked); !e.beatDue(now) && age >= 0 && age < e.followPeriod()*9/10 { // timers may be early
		return false
	}
	x := &e.overrides
	e.beat.looked = now
	before, problem := x.inForce.Revision, x.problem
	e.readShut()
	e.follow()
	if x.file != nil { // it is a gateway's
		e.followGrants(now, true)
	}
	return before != x.inForce.Revision || problem != x.problem
}

// followPeriod is how often it is looked for what an operator has changed.
func (e *Engine) followPeriod() time.Duration {
	if e.beat.steers {
		return followPeriod
	}
	return beatPeriod
}

// tickBeat does what is done once a second, and tells the others at once of new overrides. What was counted is kept while nobody wants to know.
func (e *Engine) tickBeat(now clock.Moment) {
	news, b := e.tickFollow(now), &e.beat
	if !news && !e.beatDue(now) {
		return
	}
	if b.at == 0 {
		e.uptime(now)
	}
	b.at, b.beats = now, min(b.beats+1, firstBeats)
	e.tellUntold(now)
	err := e.ask(now)
	b.steers = err == nil && e.IsGateway() && e.isAsked(now)
	if b.steers {
		r := b.roster
		r.Served, r.Revision, r.Refused = e.worker.served, e.overrides.inForce.Revision, e.overrides.problem != ""
		if err = r.Beat(now); err == nil {
			err = e.tell(now)
		}
		if err == nil {
			err = e.compare(now)
		}
	}
	if err != nil {
		e.storeFailed("the record of this worker can't be used", err)
	}
}

// Gateways with different configurations that share a namespace share the overrides, each of which is checked against one of them only. Workers have
// different ones for a while after each reload, too: as long as the streams of the earlier one are drained, which Envoy does for ten
// minutes by default. So it is told after rivalTime (status tells at once how many there are).
const (
	rivalTime     = 15 * time.Minute
	comparePeriod = time.Minute
)

// rivals are other configurations in the same namespace.
type rivals struct {
	looked clock.Moment // when it was looked for them last
	since  clock.Moment // when they were first seen; 0: there are none
	told   bool
}

// compare warns of gateways that have other configurations in the same namespace.
func (e *Engine) compare(now clock.Moment) error {
	x := &e.beat.rivals
	if age := now.Sub(x.looked); x.looked != 0 && age >= 0 && age < comparePeriod {
		return nil
	}
	x.looked = now
	var counts [counted]int64
	all, err := e.beat.roster.Sum(now, counts[:])
	switch {
	case err != nil:
		return err
	case all.Configurations < 2:
		*x = rivals{looked: now}
	case x.since == 0:
		x.since = now
	case !x.told && now.Sub(x.since) >= rivalTime:
		x.told = true
		e.out.warn("gateways with " + strconv.Itoa(all.Configurations) + " different configurations share the namespace " + e.cfg.Namespace +
			", and what is overridden: give each a namespace of its own")
	}
	return nil
}

// ask says that there is an admin surface, so that all workers tell it how they stand.
func (e *Engine) ask(now clock.Moment) error {
	if e.surface.server == nil {
		return nil
	}
	u := record.Open(e.host, e.beat.asked)
	for u.Read() {
		if len(u.Value) == 8 {
			if age := now.Sub(clock.Moment(binary.LittleEndian.Uint64(u.Value))); age >= 0 && age < beatPeriod/2 {
				break
			}
		}
		u.Write(binary.LittleEndian.AppendUint64(nil, uint64(now)))
	}
	return u.Err()
}

// isAsked says that there is an admin surface.
func (e *Engine) isAsked(now clock.Moment) bool {
	value, _, found, err := e.host.Get(e.beat.asked)
	if err != nil || !found || len(value) != 8 {
		return false
	}
	age := now.Sub(clock.Moment(binary.LittleEndian.Uint64(value)))
	return age <= wanted && age >= -wanted
}

// Announce puts the configuration up as it was given, for the admin surface of another listener, and lays over it what is overridden. It is called
// once for each that is usable.
func (e *Engine) Announce(text []byte) {
	if !e.IsGateway() {
		return
	}
	e.overrideBy(text)
	u := record.Open(e.host, e.configKey())
	for u.Read() {
		if string(u.Value) == string(text) && len(u.Value) > 0 {
			break
		}
		u.Write(text)
	}
	if err := u.Err(); err != nil {
		e.storeFailed("the configuration can't be put up for the admin surface", err)
	}
}

func (e *Engine) configKey() string { return e.cfg.Namespace + "/admin/config" }
