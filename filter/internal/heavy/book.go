package heavy

import "github.com/spillway-proxy/spillway/filter/internal/clock"

// Subjects are those of one limit, as a worker knows them.
type Subjects struct {
	Used    Sketch // what was used of the limit, in its unit's millionths
	Refused Sketch // requests that it refused, or would have if it were not in shadow mode
	Changes uint32 // how often anything was counted; it wraps
}

// Book has the subjects of a worker's limits. It outlives configurations: a limit that is changed keeps what is known of it. The zero value
// is empty.
type Book struct {
	pages []page // those that were asked for last come last
}

// mostPages bounds how many limits are known when configurations have had more; each takes 33 KiB.
const mostPages = 64

// page is a limit's.
type page struct {
	limit uint64
	*Subjects
}

// Of gives the subjects of a limit, by what tells it from others.
func (b *Book) Of(limit uint64) *Subjects {
	p := page{limit: limit}
	for i := range b.pages {
		if b.pages[i].limit == limit {
			p = b.pages[i]
			b.pages = append(b.pages[:i], b.pages[i+1:]...)
			break
		}
	}
	if p.Subjects == nil {
		p.Subjects = &Subjects{}
	}
	if len(b.pages) == mostPages {
		copy(b.pages, b.pages[1:])
		b.pages = b.pages[:mostPages-1]
	}
	b.pages = append(b.pages, p)
	return p.Subjects
}

// Use counts what a subject has used. fresh says that its counter has no name.
func (s *Subjects) Use(now clock.Moment, id uint64, millionths int64) (c *Counter, fresh bool) {
	s.Changes++
	return s.Used.Add(now, id, float64(millionths))
}

// Refuse counts a refusal. fresh says that its subject's counter has no name.
func (s *Subjects) Refuse(now clock.Moment, id uint64, reason string) (c *Counter, fresh bool) {
	s.Changes++
	c, fresh = s.Refused.Add(now, id, 1)
	c.Refused(now, reason)
	return c, fresh
}
