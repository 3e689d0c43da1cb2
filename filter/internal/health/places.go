package health

import (
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/record"
)

// place is where a model's record is: one of the places, or that of all models together.
type place int8

const (
	places = 64

	nowhere place = -1 // nothing is known of the model
	all     place = places
	keys          = places + 1

	entrySize = 2*8 + 1
	namesSize = 1 + places*entrySize

	// idle is how long a model has not been heard of before its place can be given to another one.
	idle = 10 * time.Minute
)

// rank says how sure it is that there is such a model. Clients make up names, so what is surer takes the place of what is less sure.
type rank byte

const (
	unasked    rank = iota // no place is wanted
	unproven               // the upstream has failed to answer for it
	proven                 // it has answered
	configured             // the configuration names it
)

// rank is that of a model of which an answer tells as much.
func (g *Gates) rank(hash uint64, told rank) rank {
	if _, is := g.configured[hash]; is {
		return configured
	}
	return told
}

// names says which model has which place. It is fixed in size, so that the number of records is, too.
type names [places]entry

// entry is a place. The zero value is free.
type entry struct {
	hash    uint64
	touched clock.Moment // when the model was last heard of, to within a quarter of idle
	rank    rank
}

func (n *names) append(b []byte) []byte {
	b = append(b, layout)
	for i := range n {
		b = order.AppendUint64(b, n[i].hash)
		b = append(order.AppendUint64(b, uint64(n[i].touched)), byte(n[i].rank))
	}
	return b
}

func (n *names) decode(b []byte) bool {
	*n = names{}
	if len(b) != namesSize || b[0] != layout {
		return false
	}
	for i := range n {
		e := b[1+entrySize*i:]
		n[i] = entry{order.Uint64(e), clock.Moment(order.Uint64(e[8:])), rank(e[16])}
		if n[i].rank > configured {
			*n = names{}
			return false
		}
	}
	return true
}

// find gives a model's place.
func (n *names) find(hash uint64) place {
	for i := range n {
		if n[i].hash == hash {
			return place(i)
		}
	}
	return nowhere
}

// vacant gives a place for a new model: a free one, or that of a model which is less sure to be one, or of one that has been idle. What
// the configuration names makes place only for its like.
func (n *names) vacant(now clock.Moment, newcomer rank) place {
	found, lowest, longest := nowhere, newcomer, time.Duration(0)
	for i := range n {
		e := &n[i]
		if e.hash == 0 {
			return place(i)
		}
		quiet := now.Sub(e.touched)
		if quiet < -idle { // touched by a clock that was set back since
			quiet = -quiet
		}
		worth := e.rank
		if quiet >= idle && (worth < configured || newcomer == configured) {
			worth = unasked
		}
		if worth < lowest || worth == lowest && found != nowhere && quiet > longest {
			found, lowest, longest = place(i), worth, quiet
		}
	}
	return found
}

// hashOf is the FNV-1a hash of a model's name, never 0. Models whose names a client has made up to have the hash of another
// one have no place, because records hold the name as well.
func hashOf(model string) uint64 {
	hash := uint64(14695981039346656037)
	for i := range len(model) {
		hash = (hash ^ uint64(model[i])) * 1099511628211
	}
	return max(hash, 1)
}

// locate gives the place of a model's record; nowhere: it has none. With a rank it is given one, if there is one for it.
func (g *Gates) locate(now clock.Moment, hash uint64, rank rank) (place, error) {
	at := g.names.find(hash)
	if at != nowhere && g.namesRead && rank <= g.names[at].rank {
		return at, nil
	}
	if age := now.Sub(g.namesAt); !g.namesRead || age < 0 || age >= mergeEvery {
		if err := g.readNames(now); err != nil {
			return nowhere, err
		}
		if at = g.names.find(hash); at != nowhere && rank <= g.names[at].rank {
			return at, nil
		}
	}
	if rank == unasked || at == nowhere && g.names.vacant(now, rank) == nowhere {
		return at, nil
	}
	return g.settle(now, hash, rank)
}

// settle gives a model a place, or the rank that it has by now.
func (g *Gates) settle(now clock.Moment, hash uint64, rank rank) (place, error) {
	u := record.Open(g.store, g.namesKey)
	for u.Read() {
		g.takeNames(now, u.Value)
		at := g.names.find(hash)
		switch {
		case at != nowhere && rank <= g.names[at].rank:
			return at, nil
		case at == nowhere:
			if at = g.names.vacant(now, rank); at == nowhere {
				return nowhere, nil
			}
		}
		g.names[at] = entry{hash: hash, touched: now, rank: rank}
		if g.writeNames(&u) {
			return at, nil
		}
	}
	return nowhere, u.Err()
}

// touch notes that a model has been heard of, now and then. If that fails, the next one does it.
func (g *Gates) touch(now clock.Moment, at place, hash uint64) error {
	if at < 0 || at >= places {
		return nil
	}
	if quiet := now.Sub(g.names[at].touched); g.names[at].hash == hash && quiet > -idle/4 && quiet < idle/4 {
		return nil
	}
	u := record.Open(g.store, g.namesKey)
	if !u.Read() {
		return u.Err()
	}
	if g.takeNames(now, u.Value); g.names[at].hash == hash {
		g.names[at].touched = now
		g.writeNames(&u)
	}
	return u.Err()
}

// readNames reads the names, to change nothing in them.
func (g *Gates) readNames(now clock.Moment) error {
	u := record.Open(g.store, g.namesKey)
	if u.Read() {
		g.takeNames(now, u.Value)
	}
	return u.Err()
}

// takeNames takes in the names as they were read.
func (g *Gates) takeNames(now clock.Moment, value []byte) {
	if !g.names.decode(value) && len(value) > 0 {
		g.damaged++
	}
	g.namesAt, g.namesRead = now, true
}

func (g *Gates) writeNames(u *record.Update) bool {
	g.buffer = g.names.append(g.buffer[:0])
	if !u.Write(g.buffer) {
		g.namesRead = false
		return false
	}
	return true
}
