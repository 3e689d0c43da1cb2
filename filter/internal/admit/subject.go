package admit

// subject is who the upstream takes a request to be from, as a keyed hash, and whether that one has a key of its own. Limits and
// gates that learn from answers tell callers apart by it, so that what one of them met doesn't hold for all (package quorum).
// With a key it is the key, whatever else the request says: names are made up more easily than keys that an upstream takes.
func (e *Engine) subject(s *Stream) (subject uint64, keyed bool) {
	if s.subject != 0 {
		return s.subject, s.keyed
	}
	c := &s.caller
	if s.keyed = c.Key != e.identity.Nobody(); s.keyed {
		e.scratch = append(append(e.scratch[:0], "key\x00"...), c.Key...)
	} else {
		e.scratch = append(append(append(append(e.scratch[:0], "name\x00"...), c.Tenant...), 0), c.User...)
	}
	s.subject = max(uint64(e.table.Hash(e.scratch)), 1)
	return s.subject, s.keyed
}
