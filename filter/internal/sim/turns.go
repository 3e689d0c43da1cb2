package sim

import (
	"github.com/spillway-proxy/spillway/filter/internal/dispatch"
)

// turns watches who gets turns while they wait for them: of each pair of subjects that wait at one priority, by how much one
// has got ahead of the other since both have been waiting.
type turns struct {
	world   *World
	on      bool
	backlog [dispatch.Priorities][]int
	ahead   [dispatch.Priorities][][]lead
}

// lead is what one subject got more than another one, and the least that it was.
type lead struct{ now, least int64 }

func (t *turns) init(w *World) {
	t.world = w
	t.on = true
	n := len(w.Sources)
	for _, s := range w.Sources {
		t.on = t.on && s.Subject != 0 && s.Misjudge == 0 && s.Patience == 0 && !s.Uneven && n <= 16
	}
	if f := w.Faults; f.Crash+f.Stall+f.ClockStep+f.Jitter > 0 || f.Store > 0 || w.Settings.Retreats || w.Settings.Shadow {
		t.on = false
	}
	for p := range t.backlog {
		t.backlog[p] = make([]int, n)
		t.ahead[p] = make([][]lead, n)
		for i := range t.ahead[p] {
			t.ahead[p][i] = make([]lead, n)
		}
	}
}

func (t *turns) waits(r *request) {
	p, i := r.ticket.Priority, r.source.index
	t.backlog[p][i]++
	if t.backlog[p][i] == 1 {
		for j := range t.backlog[p] {
			t.ahead[p][i][j], t.ahead[p][j][i] = lead{}, lead{}
		}
	}
}

func (t *turns) waitsNoMore(r *request) { t.backlog[r.ticket.Priority][r.source.index]-- }

func (t *turns) starts(r *request) {
	p, i := r.ticket.Priority, r.source.index
	if !t.on || t.backlog[p][i] == 0 {
		return
	}
	cost := max(r.ticket.Tokens, 1)
	sources, workers := t.world.Sources, int64(len(t.world.workers))
	for j, waits := range t.backlog[p] {
		if j == i || waits == 0 {
			continue
		}
		mine, others := &t.ahead[p][i][j], &t.ahead[p][j][i]
		mine.now += cost
		others.now -= cost
		others.least = min(others.least, others.now)
		dearest := max(sources[i].Tokens, sources[j].Tokens)
		ahead := mine.now - mine.least
		t.world.MostAhead = max(t.world.MostAhead, float64(ahead)/float64(dearest))
		if ahead > sources[i].Tokens+sources[j].Tokens+workers*dearest {
			t.world.wrong("subject %d got %d tokens more than %d at priority %d while both waited", i, ahead, j, p)
		}
	}
}
