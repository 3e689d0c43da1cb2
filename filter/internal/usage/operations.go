package usage

import (
	"cmp"
	"slices"
	"strings"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/inplace"
)

// The operations that have no dialect: their bodies are not read.
const (
	OperationModels = "models"
	OperationOther  = "other"
)

// Operations finds the dialect of a path.
type Operations struct {
	paths []entry // looked through in order

	lately [4]lookup // the paths that were asked for last: few are asked for, again and again
	next   int       // which of them goes for another
}

// lookup is a path and what it leads to.
type lookup struct {
	path []byte
	found

	silent bool    // the path, without a query, names no model
	asked  Request // what it says then of a request, of which nothing stands in the path
}

// mostLately is how long a path is that is kept at most, in bytes.
const mostLately = 256

// entry leads the paths of a route to a dialect; nil: bodies are not read.
type entry struct {
	route
	dialect    *Dialect
	configured bool
}

// NewOperations puts the configured paths ahead of the built-in ones. A dialect this build can't read maps to none.
func NewOperations(configured []config.Operation) *Operations {
	o := &Operations{}
	for _, c := range configured {
		e := entry{route{suffix: c.Path}, byName(c.Dialect), true}
		o.paths = append(o.paths, e)
		if e.suffix = read(c.Path)[0]; e.suffix != "" && e.suffix != c.Path { // as the readings of a request's path have it
			o.paths = append(o.paths, e)
		}
	}
	first := len(o.paths)
	for _, d := range dialects {
		for _, r := range d.routes {
			at := first // behind those that are as long: a longer suffix stands before its own end
			for at < len(o.paths) && len(o.paths[at].suffix) >= len(r.suffix) {
				at++
			}
			e := entry{r, d, false}
			if r.unread {
				e.dialect = nil
			}
			o.paths = slices.Insert(o.paths, at, e)
		}
	}
	return o
}

// found is what a reading of a path leads to.
type found struct {
	dialect   *Dialect
	operation string
	passes    bool // it has no dialect because the configuration says so
}

// mostGoverned is the rank of what brings output.
const mostGoverned = 4

// rank says how much is governed of what was found.
func (f found) rank() int {
	switch {
	case f.dialect != nil && f.dialect.Outputs:
		return mostGoverned
	case f.dialect != nil:
		return 3
	case f.operation != OperationOther:
		return 2
	case !f.passes:
		return 1
	}
	return 0
}

// Find gives the dialect of a request's path (its query is ignored) and the name of its operation; the dialect is nil
// where bodies are not read. A path that servers may read in several ways is what most is governed of.
func (o *Operations) Find(path string) (*Dialect, string) {
	f := o.find(path)
	return f.dialect, f.operation
}

// Unknown says that nothing is known of a path: that its bodies are not read is not what the configuration says.
func (o *Operations) Unknown(path string) bool {
	f := o.find(path)
	return f.dialect == nil && !f.passes
}

func (o *Operations) find(path string) found {
	path = withoutQuery(path)
	if known := o.known(path); known != nil {
		return known.found
	}
	f := o.search(path)
	if len(path) <= mostLately {
		known := &o.lately[o.next]
		known.path, known.found, known.silent = append(known.path[:0], path...), f, false
		o.next = (o.next + 1) % len(o.lately)
	}
	return f
}

// known gives what a path has led to lately; nil: it isn't known.
func (o *Operations) known(path string) *lookup {
	for i := range o.lately {
		if known := &o.lately[i]; known.path != nil && inplace.String(known.path) == path {
			return known
		}
	}
	return nil
}

// FromPath gives what a request's path says, which is all that is known of one whose body is not read.
func (o *Operations) FromPath(dialect *Dialect, path string) Request {
	known := o.known(path) // nothing is of one with a query
	if known == nil || known.dialect != dialect {
		return FromPath(dialect, path)
	}
	if known.silent {
		return known.asked
	}
	asked := FromPath(dialect, path)
	if asked.Model == "" && asked.Route == "" {
		known.asked, known.silent = asked, true
	}
	return asked
}

func withoutQuery(path string) string {
	if i := strings.IndexByte(path, '?'); i >= 0 {
		return path[:i]
	}
	return path
}

// search finds what a path without its query leads to.
func (o *Operations) search(path string) found {
	best := o.match(path)
	if plain(path) && (best.rank() == mostGoverned || !formatted(path)) {
		return best
	}
	last := best
	best = found{nil, OperationOther, true}
	for _, reading := range read(path) {
		if f := o.match(reading); f.rank() > best.rank() {
			best = f
		}
	}
	if last.rank() > best.rank() {
		best = last // by a server that decodes nothing
	}
	return best
}

// match looks one reading of a path up, in any case.
func (o *Operations) match(path string) found {
	for i := range o.paths {
		switch e := &o.paths[i]; {
		case !hasSuffixFold(path, e.suffix) || e.within != "" && !strings.Contains(lower(path), e.within):
		case e.dialect == nil:
			return found{nil, OperationOther, e.configured}
		default:
			return found{e.dialect, cmp.Or(e.operation, e.dialect.Operation), false}
		}
	}
	if path = lower(path); strings.HasSuffix(path, "/models") || strings.Contains(path, "/models/") {
		return found{nil, OperationModels, false}
	}
	return found{nil, OperationOther, false}
}
