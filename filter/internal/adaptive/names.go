package adaptive

// place is where a model's record is: one of the places, or one that is shared.
type place int8

const (
	places = 64

	nowhere place = -1 // nothing is known of the model
	other   place = places
	all     place = places + 1
	keys          = places + 2

	namesSize = 1 + places*16

	// idle is how long a model has not been heard of before its place can be given to another one.
	idle = 600 * second
)

// names says which model has which place. It is fixed in size, so that the number of records is, too.
type names [places]entry

// entry is a place. The zero value is free.
type entry struct {
	hash    uint64
	touched int64 // when the model was last heard of, to within a quarter of idle
}

func (n *names) append(b []byte) []byte {
	b = append(b, layout)
	for i := range n {
		b = order.AppendUint64(b, n[i].hash)
		b = order.AppendUint64(b, uint64(n[i].touched))
	}
	return b
}

func (n *names) decode(b []byte) bool {
	*n = names{}
	if len(b) != namesSize || b[0] != layout {
		return false
	}
	for i := range n {
		n[i] = entry{order.Uint64(b[1+16*i:]), int64(order.Uint64(b[9+16*i:]))}
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

// vacant gives a place for a new model: a free one, or that of the model that has been idle the longest.
func (n *names) vacant(now int64) place {
	oldest, longest := nowhere, idle
	for i := range n {
		if n[i].hash == 0 {
			return place(i)
		}
		quiet := now - n[i].touched
		if quiet < -idle { // touched by a clock that was set back since
			quiet = -quiet
		}
		if quiet >= longest {
			oldest, longest = place(i), quiet
		}
	}
	return oldest
}

// hashOf is the FNV-1a hash of a model's name, never 0. Models whose names a client has made up to have the hash of another
// one share the record "other", because records hold the name as well.
func hashOf(model string) uint64 {
	hash := uint64(14695981039346656037)
	for i := range len(model) {
		hash = (hash ^ uint64(model[i])) * 1099511628211
	}
	return max(hash, 1)
}

// locate gives the place of a model's record. Without create it is nowhere as long as there is none, and none is needed.
func (g *Gates) locate(now int64, hash uint64, create bool) (place, error) {
	at := g.names.find(hash)
	if at != nowhere && g.namesRead {
		return at, nil
	}
	if age := now - g.namesAt; !g.namesRead || age < 0 || age >= mergeEvery {
		if _, err := g.readNames(now); err != nil {
			return nowhere, err
		}
		if at = g.names.find(hash); at != nowhere {
			return at, nil
		}
	}
	if vacant := g.names.vacant(now); vacant == nowhere {
		return other, nil
	} else if !create {
		return nowhere, nil
	}
	return g.settle(now, hash)
}

// settle gives a model a place.
func (g *Gates) settle(now int64, hash uint64) (place, error) {
	for range attempts {
		version, err := g.readNames(now)
		if err != nil {
			return nowhere, err
		}
		at := g.names.find(hash)
		if at != nowhere {
			return at, nil
		}
		if at = g.names.vacant(now); at == nowhere {
			return other, nil
		}
		g.names[at] = entry{hash: hash, touched: now}
		written, err := g.writeNames(version)
		if err != nil {
			return nowhere, err
		}
		if written {
			return at, nil
		}
	}
	return nowhere, ErrContended
}

// touch notes that a model has been heard of, now and then. If that fails, the next one does it.
func (g *Gates) touch(now int64, at place, hash uint64) error {
	if at < 0 || at >= places {
		return nil
	}
	if quiet := now - g.names[at].touched; g.names[at].hash == hash && quiet > -idle/4 && quiet < idle/4 {
		return nil
	}
	version, err := g.readNames(now)
	if err != nil || g.names[at].hash != hash {
		return err
	}
	g.names[at].touched = now
	_, err = g.writeNames(version)
	return err
}

func (g *Gates) readNames(now int64) (version uint32, err error) {
	value, version, err := g.get(g.namesKey)
	if err != nil {
		return 0, err
	}
	if !g.names.decode(value) && len(value) > 0 {
		g.damaged++
	}
	g.namesAt, g.namesRead = now, true
	return version, nil
}

func (g *Gates) writeNames(version uint32) (written bool, err error) {
	g.buffer = g.names.append(g.buffer[:0])
	written, err = g.store.Put(g.namesKey, g.buffer, version)
	if !written {
		g.namesRead = false
	}
	return written, err
}
