package heavy

import "github.com/spillway-proxy/spillway/filter/internal/clock"

// Subjects are those of one limit, as a worker knows them.
type Subjects struct {
	Used    Sketch // what was used of the limit, in its unit's millionths
	Refused Sketch // requests that it refused, or would have if it were not in shadow mode
}

// Book has the subjects of a worker's limits. It outlives configurations: a limit that is changed keeps what is known of it. The zero value
// is empty.
type Book struct {
	pages []page
}

// page is a limit's.
type page struct {
	limit string
	kept  bool
	*Subjects
}

// Of gives the subjects of a limit, by what identifies it.
func (b *Book) Of(limit string) *Subjects {
	for i := range b.pages {
		if b.pages[i].limit == limit {
			b.pages[i].kept = true
			return b.pages[i].Subjects
		}
	}
	b.pages = append(b.pages, page{limit, true, &Subjects{}})
	return b.pages[len(b.pages)-1].Subjects
}

// Turn drops the limits that nobody has asked for since it was called last: they are no more in the configuration.
func (b *Book) Turn() {
	kept := b.pages[:0]
	for _, p := range b.pages {
		if p.kept {
			p.kept = false
			kept = append(kept, p)
		}
	}
	clear(b.pages[len(kept):])
	b.pages = kept
}

// Use counts what a subject has used. fresh says that its counter has no name.
func (s *Subjects) Use(now clock.Moment, id uint64, millionths int64) (c *Counter, fresh bool) {
	return s.Used.Add(now, id, float64(millionths))
}

// Refuse counts a refusal. fresh says that its subject's counter has no name.
func (s *Subjects) Refuse(now clock.Moment, id uint64, reason string) (c *Counter, fresh bool) {
	c, fresh = s.Refused.Add(now, id, 1)
	c.Refused(now, reason)
	return c, fresh
}
