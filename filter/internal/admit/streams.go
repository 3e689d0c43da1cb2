package admit

// streamSet is a set of an engine's streams. They are linked through the streams themselves: to add one and to take one out is to write
// some words, on each request's way, where a map would hash, probe and now and then grow.
type streamSet struct {
	in    setNumber
	first *Stream
	count int
}

// setNumber tells an engine's sets apart.
type setNumber uint8

const (
	inDraining setNumber = iota
	inHolding
	inReserving
	inUploading
	inAwaiting
	inLeaving
	inUntold
	streamSets
)

// membership is a stream's place in a set.
type membership struct {
	member     bool
	prev, next *Stream
}

func (t *streamSet) has(s *Stream) bool { return s.sets[t.in].member }

// add adds a stream, if it isn't in the set.
func (t *streamSet) add(s *Stream) {
	if t.has(s) {
		return
	}
	s.sets[t.in] = membership{member: true, next: t.first}
	if t.first != nil {
		t.first.sets[t.in].prev = s
	}
	t.first = s
	t.count++
}

// remove takes a stream out, if it is in the set.
func (t *streamSet) remove(s *Stream) {
	place := s.sets[t.in]
	if !place.member {
		return
	}
	s.sets[t.in] = membership{}
	if place.prev != nil {
		place.prev.sets[t.in].next = place.next
	} else {
		t.first = place.next
	}
	if place.next != nil {
		place.next.sets[t.in].prev = place.prev
	}
	t.count--
}

// after gives the stream that follows s; nil: none does, or s is no member. Who takes streams out while going through the set asks for the
// next one first:
//
//	for s, next := t.first, (*Stream)(nil); s != nil; s = next {
//		next = t.after(s)
func (t *streamSet) after(s *Stream) *Stream { return s.sets[t.in].next }
