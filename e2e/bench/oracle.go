package main

import (
	"container/heap"
	"slices"
	"time"
)

// The surge's server and its clients in virtual time: what became of a request if others had been refused, or it had not been.

// visit is an attempt that comes to the server.
type visit struct {
	asked
	at    time.Duration // when it comes
	first time.Duration // when its first token comes; 0: none does
	left  int           // tokens that are still to come
	gone  bool          // its client has left, or it has all tokens
	runs  bool          // it has a slot
}

// inTime says that its first token comes in time.
func (v *visit) inTime() bool { return v.first > 0 && v.first-v.at <= surgeTarget }

// moment is what happens at a time; of those of one time the one that was noted first comes first.
type moment struct {
	at    time.Duration
	order int
	do    func()
}

type agenda []moment

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	return a[i].at < a[j].at || a[i].at == a[j].at && a[i].order < a[j].order
}
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(e any)   { *a = append(*a, e.(moment)) }
func (a *agenda) Pop() any {
	last := (*a)[len(*a)-1]
	*a = (*a)[:len(*a)-1]
	return last
}

// world is the server in virtual time. It works as llmsim does with the surge's options.
type world struct {
	now     time.Duration
	agenda  agenda
	order   int
	running int
	queue   []*visit
}

func (w *world) after(d time.Duration, do func()) {
	w.order++
	heap.Push(&w.agenda, moment{w.now + d, w.order, do})
}

// attendAll has visits come to the server, and finds out when each has its first token. It goes on until that is known of one of them, if one is
// named, else of all.
func attendAll(visits []*visit, until *visit) {
	w := &world{}
	for _, v := range visits {
		v.first, v.left, v.gone, v.runs = 0, max(v.tokens, 1), false, false
		w.after(v.at, func() {
			w.queue = append(w.queue, v)
			w.fill()
		})
		w.after(v.at+surgePatience+v.holds, func() { w.losesPatience(v) })
	}
	for len(w.agenda) > 0 && (until == nil || until.first == 0 && !until.gone) {
		e := heap.Pop(&w.agenda).(moment)
		w.now = e.at
		e.do()
	}
}

// fill gives free slots to those who wait.
func (w *world) fill() {
	for len(w.queue) > 0 && w.running < surgeSlots {
		v := w.queue[0]
		w.queue = w.queue[1:]
		w.running++
		v.runs = true
		w.after(v.firstAlone(), func() {
			if !v.gone {
				v.first = w.now
				w.token(v)
			}
		})
	}
}

// token sends a token, and then the next one.
func (w *world) token(v *visit) {
	if v.left--; v.left == 0 {
		w.ends(v)
		return
	}
	slowdown := 1 + surgeSlowdown*float64(w.running-1)
	w.after(time.Duration(slowdown*float64(surgeToken)), func() { w.token(v) })
}

func (w *world) losesPatience(v *visit) {
	if v.first > 0 || v.gone {
		return
	}
	if v.runs {
		w.ends(v)
		return
	}
	v.gone = true
	w.queue = slices.DeleteFunc(w.queue, func(other *visit) bool { return other == v })
}

// ends frees the slot.
func (w *world) ends(v *visit) {
	v.gone = true
	w.running--
	w.fill()
}

// mostInTime is the share of a trace's requests that come in time where it is known of each, when it comes, whether it will, who wouldn't is refused at
// once, and nobody asks again: more than any gate can bring about, but by refusing some for the sake of several others.
func mostInTime(trace []asked) float64 {
	visits, judged := make([]*visit, len(trace)), 0
	for i, a := range trace {
		visits[i] = &visit{asked: a, at: a.due}
		if !a.direct {
			judged++
		}
	}
	for {
		attendAll(visits, nil)
		late := slices.IndexFunc(visits, func(v *visit) bool { return !v.direct && !v.inTime() })
		if late < 0 {
			break
		}
		visits = slices.Delete(visits, late, late+1)
	}
	return part(len(visits)-(len(trace)-judged), judged)
}

// refusedForNothing is the share of the requests refused at their first attempt that would have been in time if each by itself had been let pass, beside
// all that was.
func refusedForNothing(stories []told, trace []asked) float64 {
	var sent, refused []*visit
	for _, a := range trace {
		if a.direct {
			sent = append(sent, &visit{asked: a, at: a.due})
		}
	}
	for _, t := range stories {
		for i, a := range t.attempts {
			switch v := (&visit{asked: t.asked, at: a.at}); {
			case !a.refused():
				sent = append(sent, v)
			case i == 0:
				refused = append(refused, v)
			}
		}
	}
	inTime := 0
	for _, v := range refused {
		if attendAll(append(slices.Clone(sent), v), v); v.inTime() {
			inTime++
		}
	}
	return part(inTime, len(refused))
}
