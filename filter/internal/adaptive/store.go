package adaptive

import (
	"github.com/spillway-proxy/spillway/filter/internal/breaker"
	"github.com/spillway-proxy/spillway/filter/internal/table"
)

func (g *Gates) get(key string) (value []byte, version uint32, err error) {
	value, version, found, err := g.store.Get(key)
	if err != nil {
		return nil, 0, err
	}
	if !found {
		return nil, table.Create, nil
	}
	return value, version, nil
}

// read takes in the record of a place, for a request. What was read for it in the same event is not read again: if it has
// changed since, the write will say so. It gives the place where the record is: another one if the place isn't the model's any more.
// With a rank, one that was never written begins as the model's.
func (g *Gates) read(now int64, at place, r *Request, rank rank) (place, error) {
	for range 3 {
		if err := g.load(now, at, r); err != nil {
			return nowhere, err
		}
		if at >= places || g.record.belongs(r.hash, r.Model) {
			return at, nil
		}
		if g.record.hash == r.hash { // another model's name has the same hash
			return nowhere, nil
		}
		// The place was another model's, or is another's by now: what was read of the names may be old.
		if g.namesAt != now || !g.namesRead {
			if _, err := g.readNames(now); err != nil {
				return nowhere, err
			}
		}
		if g.names.find(r.hash) == at {
			g.record.own(r.hash, r.Model)
			return at, nil
		}
		found, err := g.locate(now, r.hash, rank)
		if err != nil || found == nowhere {
			return nowhere, err
		}
		at = found
	}
	return nowhere, ErrContended
}

func (g *Gates) load(now int64, at place, r *Request) error {
	if g.reader != nil && g.reader == r && g.at == at && g.recorded == now {
		return nil
	}
	g.reader = nil
	value, version, err := g.get(g.keys[at])
	if err != nil {
		return err
	}
	if !g.record.decode(value) && len(value) > 0 {
		g.damaged++
	}
	g.at, g.version, g.recorded, g.reader = at, version, now, r
	return nil
}

// write writes the record that was read. What is held is void afterwards: its version is another one.
func (g *Gates) write() (written bool, err error) {
	g.reader = nil
	g.buffer = g.record.append(g.buffer[:0])
	return g.store.Put(g.keys[g.at], g.buffer, g.version)
}

// change lets apply change the record of a place and writes it, until no other worker has written in between. apply may be
// called several times; it says whether there is anything to write. g.at is then where the record is. A model without a place has nothing
// that could change.
func (g *Gates) change(now int64, at place, r *Request, rank rank, apply func(*record) bool) error {
	if at == nowhere {
		return nil
	}
	for range attempts {
		found, err := g.read(now, at, r, rank)
		if err != nil || found == nowhere {
			return err
		}
		at = found
		if !apply(&g.record) {
			return nil
		}
		if written, err := g.write(); err != nil || written {
			return err
		}
	}
	return ErrContended
}

// due says that it is time to merge what was counted for the throttle.
func (g *Gates) due(now int64) bool {
	age := now - g.merged
	return !g.merges || age < 0 || age >= mergeEvery
}

// merge adds what this worker has counted to the throttle. If that fails it is kept for the next time.
func (g *Gates) merge(now int64) error {
	g.merged, g.merges = now, true
	for range attempts {
		value, version, err := g.get(g.throttleKey)
		if err != nil {
			return err
		}
		if len(value) < throttleHead || value[0] != layout || !g.throttle.Decode(value[throttleHead:]) {
			if len(value) > 0 {
				g.damaged++
			}
			g.throttle.Decode(nil)
		}
		g.throttle.Merge(now, g.settings.Throttle, &g.delta)
		g.buffer = g.throttle.Append(append(g.buffer[:0], layout))
		written, err := g.store.Put(g.throttleKey, g.buffer, version)
		if err != nil {
			return err
		}
		if written {
			g.delta.Reset()
			return nil
		}
	}
	return ErrContended
}

// Period is how often Tick wants to be called, in nanoseconds; 0: not at all.
func (g *Gates) Period() int64 {
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
func (g *Gates) Tick(now int64) error {
	if g == nil {
		return nil
	}
	var failed error
	if g.settings.Throttle != nil && !g.delta.Empty() && g.due(now) {
		failed = g.merge(now)
	}
	if age := now - g.renewed; g.probing == 0 || age >= 0 && age < breaker.Lease/8 {
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
func (g *Gates) renew(now int64, at place) error {
	for range attempts {
		if err := g.load(now, at, nil); err != nil {
			return err
		}
		if !g.record.breaker.Renew(now, g.id) {
			return nil
		}
		if written, err := g.write(); err != nil || written {
			return err
		}
	}
	return ErrContended
}
