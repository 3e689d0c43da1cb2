package health

import (
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/breaker"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/record"
)

// opened is a record as it was read for a request, and where: it is opened, read until it is written or needs no write, and saved.
//
//	o := g.open(now, at, r, rank)
//	for g.read(o) {
//		// change o.modelRecord; with nothing to change, break
//		g.save(o)
//	}
//	return o.err
type opened struct {
	modelRecord
	at  place         // nowhere: the model has none
	was breaker.Phase // as it was read
	err error         // why it could not be read or saved

	update record.Update
	now    clock.Moment
	reader *Request
	rank   rank
	valid  bool // it is what was read, and was not saved since
	kept   bool // the next read finds it as it is
}

// open opens the record of a place for a request. What was read for it in the same event is not read again: if it has changed since, the
// write will say so. With a rank, one that was never written begins as the model's. There is one open record at a time.
func (g *Gates) open(now clock.Moment, at place, r *Request, rank rank) *opened {
	o := &g.opened
	o.rank, o.err = rank, nil
	if o.kept = o.valid && r != nil && o.reader == r && o.at == at && o.now == now; o.kept {
		return o
	}
	o.at, o.now, o.reader, o.valid = at, now, r, false
	if at != nowhere {
		o.update = record.Open(g.store, g.keys[at])
	}
	return o
}

// read reads the record for its request. It says false if it was saved, or can't be read, or if the model has none. It may be found at
// another place, if the one that was opened isn't the model's any more.
func (g *Gates) read(o *opened) bool {
	r := o.reader
	for range 3 {
		if !g.load(o) {
			return false
		}
		if o.at >= places || o.belongs(r.hash, r.Model) || g.move(o) {
			return true
		}
		if o.err != nil || o.at == nowhere {
			return false
		}
	}
	o.err = record.ErrContended
	return false
}

// move goes where the record of the model is, since the one that was read is another's. It says true if that is where it was looked for,
// and the record is new.
func (g *Gates) move(o *opened) (owns bool) {
	r := o.reader
	if o.hash == r.hash { // another model's name has the same hash
		o.at = nowhere
		return false
	}
	// The place was another model's, or is another's by now: what was read of the names may be old.
	if g.namesAt != o.now || !g.namesRead {
		if o.err = g.readNames(o.now); o.err != nil {
			return false
		}
	}
	if g.names.find(r.hash) == o.at {
		o.own(r.hash, r.Model)
		o.was = breaker.Closed
		return true
	}
	if o.at, o.err = g.locate(o.now, r.hash, o.rank); o.err == nil && o.at != nowhere {
		o.update.Move(g.keys[o.at])
	}
	return false
}

// load reads the record, whosever it is.
func (g *Gates) load(o *opened) bool {
	if o.kept {
		o.kept = false
		return true
	}
	if o.at == nowhere {
		return false
	}
	if o.valid = o.update.Read(); !o.valid {
		o.err = o.update.Err()
		return false
	}
	if !o.decode(o.update.Value) && len(o.update.Value) > 0 {
		g.damaged++
	}
	o.was = o.breaker.Phase()
	return true
}

// save writes the record if nobody else has meanwhile, and says whether it did. What is held is void afterwards: its version is another
// one.
func (g *Gates) save(o *opened) bool {
	o.valid = false
	g.buffer = o.append(g.buffer[:0])
	written := o.update.Write(g.buffer)
	if to := o.breaker.Phase(); written && to != o.was {
		g.turned[int(o.was)*phases+int(to)]++
	}
	return written
}

// ResetBreaker closes the breaker of a model, or, for "", those of all models, and says of how many.
func (g *Gates) ResetBreaker(now clock.Moment, model string) (models int, err error) {
	if g == nil || g.settings.Breaker == nil {
		return 0, nil
	}
	if err = g.readNames(now); err != nil {
		return 0, err
	}
	for at := range place(places) {
		if g.names[at].hash == 0 || model != "" && g.names[at].hash != hashOf(model) {
			continue
		}
		reset, err := g.resetBreaker(now, at, model)
		if err != nil {
			return models, err
		}
		if reset {
			models++
		}
	}
	return models, nil
}

// resetBreaker closes the breaker of a place, and says whether that is still the model's.
func (g *Gates) resetBreaker(now clock.Moment, at place, model string) (reset bool, err error) {
	o := g.open(now, at, nil, unasked)
	for g.load(o) && o.hash == g.names[at].hash && (model == "" || o.belongs(o.hash, model)) {
		if !o.breaker.Reset(now) || g.save(o) {
			reset = true
			break
		}
	}
	o.err = o.update.Err()
	return reset, o.err
}

// due says that it is time to merge what was counted for the throttle.
func (g *Gates) due(now clock.Moment) bool {
	age := now.Sub(g.merged)
	return !g.merges || age < 0 || age >= mergeEvery
}

// merge adds what this worker has counted to the throttle. If that fails it is kept for the next time.
func (g *Gates) merge(now clock.Moment) error {
	g.merged, g.merges = now, true
	u := record.Open(g.store, g.throttleKey)
	for u.Read() {
		value := u.Value
		if len(value) < throttleHead || value[0] != layout || !g.throttle.Decode(value[throttleHead:]) {
			if len(value) > 0 {
				g.damaged++
			}
			g.throttle.Decode(nil)
		}
		g.throttle.Merge(now, g.settings.Throttle, &g.delta)
		g.buffer = g.throttle.Append(append(g.buffer[:0], layout))
		if u.Write(g.buffer) {
			g.delta.Reset()
		}
	}
	return u.Err()
}

// Period is how often Tick wants to be called; 0: not at all.
func (g *Gates) Period() time.Duration {
	switch {
	case g == nil:
		return 0
	case g.settings.Throttle != nil && !g.delta.Empty():
		return mergeEvery
	case g.probing > 0:
		return breaker.Lease / 8
	default:
		return 0
	}
}

// Tick merges what was counted, and says of this worker's probes that they are still in flight.
func (g *Gates) Tick(now clock.Moment) error {
	if g == nil {
		return nil
	}
	var failed error
	if g.settings.Throttle != nil && !g.delta.Empty() && g.due(now) {
		failed = g.merge(now)
	}
	if age := now.Sub(g.renewed); g.probing == 0 || age >= 0 && age < breaker.Lease/8 {
		return failed
	}
	g.renewed = now
	for at := range g.probes {
		if g.probes[at] > 0 {
			if err := g.renew(now, place(at)); err != nil {
				failed = err
			}
		}
	}
	return failed
}

// renew renews the probes at a place, whosever it is by now.
func (g *Gates) renew(now clock.Moment, at place) error {
	o := g.open(now, at, nil, unasked)
	for g.load(o) && o.breaker.Renew(now, g.id) {
		g.save(o)
	}
	return o.err
}
