package sim

// event is something that happens at a time.
type event struct {
	at     int64
	order  uint64 // of those at the same time
	kind   kind
	worker int // its place, whoever is there by then
	of     *request
	source *source
}

type kind uint8

const (
	arrival kind = iota // of a source's next requests
	tick
	answered
	hangsUp
	crash
	stall
	step // of the clock
)

// agenda is a binary heap of events.
type agenda struct {
	events []event
	order  uint64
}

func (a *agenda) add(e event) {
	a.order++
	e.order = a.order
	a.events = append(a.events, e)
	for i := len(a.events) - 1; i > 0; {
		parent := (i - 1) / 2
		if !a.before(i, parent) {
			return
		}
		a.events[i], a.events[parent] = a.events[parent], a.events[i]
		i = parent
	}
}

func (a *agenda) next() event {
	first, end := a.events[0], len(a.events)-1
	a.events[0] = a.events[end]
	a.events = a.events[:end]
	for i := 0; ; {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < end; child++ {
			if a.before(child, least) {
				least = child
			}
		}
		if least == i {
			return first
		}
		a.events[i], a.events[least] = a.events[least], a.events[i]
		i = least
	}
}

func (a *agenda) before(i, j int) bool {
	x, y := &a.events[i], &a.events[j]
	return x.at < y.at || x.at == y.at && x.order < y.order
}
