package main

import (
	"net/http"
	"testing"
	"time"
)

// Ten answers at once and no more: what finds no slot has its first token when one is free, or leaves.
func TestTheServerInVirtualTime(t *testing.T) {
	t.Parallel()
	var visits []*visit
	for range surgeSlots {
		visits = append(visits, &visit{asked: asked{tokens: 5}})
	}
	next := &visit{asked: asked{tokens: 1}, at: 10 * time.Millisecond}
	lost := &visit{asked: asked{tokens: 1, prompt: 100_000}, at: 11 * time.Millisecond}
	last := &visit{asked: asked{tokens: 1}, at: 12 * time.Millisecond}
	attendAll(append(visits, next, lost, last), nil)
	// A token takes 25 ms, and 6 % of that more for each of the nine others: four take 154 ms.
	free := surgePrompt + time.Duration(4*1.54*float64(surgeToken))
	if visits[0].first != surgePrompt || next.first != free+surgePrompt || last.first != free+surgePrompt {
		t.Errorf("first tokens after %v, %v and %v", visits[0].first, next.first, last.first)
	}
	if lost.first != 0 || !lost.gone || !next.inTime() || visits[0].left != 0 {
		t.Errorf("%+v, %+v", lost, next)
	}
}

// Who would be late is refused at once where it is known, and those behind are in time.
func TestTheMostThatCouldBeInTime(t *testing.T) {
	t.Parallel()
	var trace []asked
	for i := range 100 {
		trace = append(trace, asked{due: time.Duration(i) * 10 * time.Millisecond, tokens: 10}) // three times what it can do
	}
	trace = append(trace, asked{due: time.Second, direct: true, tokens: 1})
	if got := mostInTime(trace); got < 0.35 || got > 0.6 {
		t.Errorf("%.2f", got)
	}
	for _, tr := range knownTraces(t) {
		visits := make([]*visit, len(tr.asked))
		inTime, judged := 0, 0
		for i, a := range tr.asked {
			visits[i] = &visit{asked: a, at: a.due}
		}
		attendAll(visits, nil)
		for _, v := range visits {
			if !v.direct {
				judged++
			}
			if !v.direct && v.inTime() {
				inTime++
			}
		}
		most, off := mostInTime(tr.asked), part(inTime, judged)
		t.Logf("%s: %.1f %%, and at most %.1f %%", tr.name, 100*off, 100*most)
		if most < off || most > 1 {
			t.Errorf("%s: at most %.2f, and %.2f with all", tr.name, most, off)
		}
	}
}

// A request that was refused though the server had a slot would have been in time; one that came to a full one would not.
func TestWhatWasRefusedForNothing(t *testing.T) {
	t.Parallel()
	sent, no := attempt{status: http.StatusOK, first: time.Millisecond}, attempt{status: http.StatusTooManyRequests, reason: "latency/ttft"}
	var stories []told
	for range surgeSlots {
		stories = append(stories, told{asked{tokens: 30}, []attempt{sent}})
	}
	early, late, again := no, no, sent
	late.at, again.at = 100*time.Millisecond, 2*time.Second
	stories = append(stories, told{asked{tokens: 1}, []attempt{late, again}})
	if got := refusedForNothing(stories, nil); got != 0 {
		t.Errorf("%v of those that came to a full server", got)
	}
	if got := refusedForNothing(append(stories[1:], told{asked{tokens: 1}, []attempt{early}}), nil); got != 1 {
		t.Errorf("%v of those that came to one with a slot", got)
	}
	holds := []asked{{direct: true, tokens: 1, holds: time.Second}}
	if got := refusedForNothing(stories[1:], holds); got != 0 {
		t.Errorf("%v where what went past the filter had the slot", got)
	}
	if got := refusedForNothing(stories[:3], holds); got != 0 {
		t.Errorf("%v of none", got)
	}
}
