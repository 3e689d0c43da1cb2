package plugin

// streams are a worker's streams by the host's numbers. Each callback looks its own up, so this is a table of its own: open addressing, at
// most half full, where a map of the runtime's costs several times as much. The host numbers its contexts one after another, so the lowest
// bits tell them apart. It never shrinks: it holds two pointers for each of the most streams that there were at one time.
type streams struct {
	slots []*stream // their number is a power of two
	count int
}

// get gives a stream; nil: there is none of that number.
func (t *streams) get(id uint32) *stream {
	if t.count == 0 {
		return nil
	}
	return t.slots[t.place(id)]
}

// place is where a stream is, or would be. There is a free place.
func (t *streams) place(id uint32) uint32 {
	last := uint32(len(t.slots) - 1)
	i := id & last
	for t.slots[i] != nil && t.slots[i].state.ID != id {
		i = (i + 1) & last
	}
	return i
}

// put adds a stream, in the place of one of the same number.
func (t *streams) put(s *stream) {
	if 2*(t.count+1) > len(t.slots) {
		t.grow()
	}
	i := t.place(s.state.ID)
	if t.slots[i] == nil {
		t.count++
	}
	t.slots[i] = s
}

func (t *streams) grow() {
	old := t.slots
	t.slots = make([]*stream, max(2*len(old), 64))
	for _, s := range old {
		if s != nil {
			t.slots[t.place(s.state.ID)] = s
		}
	}
}

// remove takes a stream out. Those behind it move up, where they would no longer be found.
func (t *streams) remove(id uint32) {
	if t.get(id) == nil {
		return
	}
	last := uint32(len(t.slots) - 1)
	hole := t.place(id)
	for i := (hole + 1) & last; t.slots[i] != nil; i = (i + 1) & last {
		if home := t.slots[i].state.ID & last; (i-home)&last >= (i-hole)&last { // its way to where it is leads over the hole
			t.slots[hole], hole = t.slots[i], i
		}
	}
	t.slots[hole] = nil
	t.count--
}
