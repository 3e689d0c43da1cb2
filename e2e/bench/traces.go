package main

import (
	"context"
	"encoding/csv"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The traces: what may come to the surge's server, and how the gates meet it, each in traceTime.
const (
	traceTime  = 30 * time.Second
	readTime   = 20 * time.Microsecond // that the server takes for a token of a prompt
	shortWords = 10                    // tokens of a prompt, if it is not a long one
	longWords  = 5000                  // of one in ten, where there are long ones
	mostWords  = 6000                  // of a prompt of a service's trace
)

// trace is a workload with a name.
type trace struct {
	name   string
	length time.Duration
	asked  []asked
}

// traceArms are how the traces are met.
var traceArms = []string{"off", "latency", "all three gates"}

// service is the arrivals of a real one, from some time on: so many times as fast as they were, with so many times shorter answers.
type service struct {
	name, file     string
	from           time.Duration
	speed, shorter float64
}

var services = []service{
	{"arrivals of a chat service", "azure-conv.csv", 0, 5, 21},
	{"arrivals of one that completes code", "azure-code.csv", 3 * time.Minute, 5, 2.8},
}

// traces gives those of some names; of none all.
func (b *bench) traces(names string) (list []trace, err error) {
	all, err := allTraces(filepath.Join(b.root, "filter", "internal", "autosize", "testdata"))
	if names == "" || names == "all" || err != nil {
		return all, err
	}
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(all, func(t trace) bool { return t.name == strings.TrimSpace(name) })
		if i < 0 {
			return nil, fmt.Errorf("-traces: there is no %q", name)
		}
		list = append(list, all[i])
	}
	return list, nil
}

// allTraces are the same in every run.
func allTraces(dir string) ([]trace, error) {
	steady := func(rate float64) func(time.Duration) float64 { return func(time.Duration) float64 { return rate } }
	middle := func(at time.Duration) bool { return at >= traceTime/3 && at < 2*traceTime/3 }
	mostly := func(at time.Duration) bool { return at >= traceTime/6 && at < 5*traceTime/6 }
	during := func(is func(time.Duration) bool, rate float64) func(time.Duration) float64 {
		return func(at time.Duration) float64 {
			if is(at) {
				return rate
			}
			return 0
		}
	}
	list := []trace{
		{"surge", traceTime, surgeTrace(traceTime)},
		{"slow ramp", traceTime, poisson(7, 50, func(at time.Duration) float64 { return 5 + 45*at.Seconds()/traceTime.Seconds() })},
		{"half of the slots are gone for a third of the time", traceTime, append(poisson(8, 20, steady(20)), holders()...)},
		{"long prompts among short", traceTime, prolong(poisson(9, 20, steady(20)))},
		{"too many of these", traceTime, prolong(poisson(16, 26, steady(26)))},
		{"noisy neighbour", traceTime, append(poisson(10, 14, steady(14)), direct(poisson(11, 14, during(middle, 14)))...)},
		{"noisy neighbour of a busy server", traceTime, append(poisson(17, 20, steady(20)), direct(poisson(18, 14, during(mostly, 14)))...)},
	}
	for _, s := range services {
		asked, err := s.trace(dir)
		if err != nil {
			return nil, err
		}
		list = append(list, trace{s.name, traceTime, asked})
	}
	for i := range list {
		slices.SortStableFunc(list[i].asked, func(a, b asked) int { return int(a.due - b.due) })
	}
	return list, nil
}

// poisson are arrivals of a rate, which is never above most.
func poisson(seed uint64, most float64, rate func(at time.Duration) float64) (list []asked) {
	random := rand.New(rand.NewPCG(seed, 3))
	for at := 0.0; ; {
		at += random.ExpFloat64() / most
		due := time.Duration(at * float64(time.Second))
		if due >= traceTime {
			return list
		}
		if random.Float64()*most < rate(due) {
			list = append(list, asked{due: due, priority: pick(random.IntN(100)), tokens: surgeTokens/2 + random.IntN(surgeTokens+1), prompt: shortWords})
		}
	}
}

// holders keep half of the server's slots from a third of the trace to the next one.
func holders() (list []asked) {
	for range surgeSlots / 2 {
		list = append(list, asked{due: traceTime / 3, tokens: 1, direct: true, holds: traceTime / 3})
	}
	return list
}

// direct is what comes to the server past the filter.
func direct(list []asked) []asked {
	for i := range list {
		list[i].direct = true
	}
	return list
}

// prolong makes one in ten prompts long.
func prolong(list []asked) []asked {
	for i := range list {
		if i%10 == 0 {
			list[i].prompt = longWords
		}
	}
	return list
}

// trace reads the arrivals: milliseconds, tokens of prompts, tokens of answers.
func (s *service) trace(dir string) (list []asked, err error) {
	text, err := os.ReadFile(filepath.Join(dir, s.file))
	if err != nil {
		return nil, err
	}
	rows, err := csv.NewReader(strings.NewReader(string(text))).ReadAll()
	if err != nil {
		return nil, err
	}
	random := rand.New(rand.NewPCG(12, 3))
	for _, row := range rows[1:] {
		var n [3]int
		for i := range n {
			if n[i], err = strconv.Atoi(row[i]); err != nil {
				return nil, fmt.Errorf("%s: %w", s.file, err)
			}
		}
		due := time.Duration(float64(time.Duration(n[0])*time.Millisecond-s.from) / s.speed)
		if due < 0 || due >= traceTime {
			continue
		}
		list = append(list, asked{
			due: due, priority: pick(random.IntN(100)), prompt: min(max(n[1], shortWords), mostWords),
			tokens: min(max(int(float64(n[2])/s.shorter), 1), 3*surgeTokens),
		})
	}
	return list, nil
}

// firstAlone is the time to the first token of a request that is alone.
func (a *asked) firstAlone() time.Duration {
	if a.holds > 0 {
		return a.holds
	}
	return surgePrompt + time.Duration(a.prompt)*readTime
}

// measureTraces has each trace met in all ways at the same time, round by round.
func (b *bench) measureTraces(ctx context.Context) error {
	list, err := b.traces(b.traceOnly)
	if err != nil {
		return err
	}
	arms, err := chooseArms(strings.Join(traceArms, ","))
	if err != nil {
		return err
	}
	for _, t := range list {
		runs, err := b.meet(ctx, arms, t, b.traceRounds, b.traceRounds+3)
		if err != nil {
			return err
		}
		b.traced = append(b.traced, tracedRuns{t, runs})
	}
	return nil
}

// tracedRuns is what came of a trace, by arm and round.
type tracedRuns struct {
	trace
	runs [][]*surged
}

// tracesTable has the traces with what the gates made of them: medians of the rounds.
func (b *bench) tracesTable() string {
	heads := append([]string{"trace", "requests"}, traceArms...)
	t := newTable(append(heads, "gained by all three", "at most", "refused by them", "of these in time, had each alone been let pass", "P95, off", "P95, all three",
		"URGENT, off", "URGENT, all three")...)
	for _, r := range b.traced {
		off, all := r.runs[0], r.runs[len(r.runs)-1]
		share := func(s *surged) float64 { return 100 * s.allInTime }
		p95 := func(s *surged) float64 { return s.p95 }
		urgent := func(s *surged) float64 {
			return 100 * part(s.priorities["urgent"].inTime, s.priorities["urgent"].requests)
		}
		requests := 0
		for _, l := range off[0].priorities {
			requests += l.requests
		}
		cells := []string{r.name, strconv.Itoa(requests)}
		for _, runs := range r.runs {
			cells = append(cells, over("%.1f %%", runs, share))
		}
		middle, span := gained(off, all, func(s *surged) float64 { return s.allInTime })
		t.row(append(cells, "**"+middle+"** "+span, fmt.Sprintf("%.1f %%", 100*mostInTime(r.asked)), over("%.1f %%", all, (*surged).refusedShare), needless(all),
			over("%.0f ms", off, p95), over("%.0f ms", all, p95), over("%.1f %%", off, urgent), over("%.1f %%", all, urgent))...)
	}
	return t.String()
}

// gained is what an arm has gained of a share, in hundredths, in the same round: the median, and the least and the most in brackets.
func gained(off, on []*surged, share func(*surged) float64) (middle, span string) {
	var points []float64
	for round, s := range on {
		points = append(points, 100*(share(s)-share(off[round])))
	}
	return fmt.Sprintf("%+.1f", median(points)), fmt.Sprintf("(%+.1f to %+.1f)", slices.Min(points), slices.Max(points))
}

// refusedShare is the share of the requests that were refused at their first attempt, in hundredths.
func (s *surged) refusedShare() float64 {
	refused, requests := 0, 0
	for _, l := range s.priorities {
		refused, requests = refused+l.refused, requests+l.requests
	}
	return 100 * part(refused, requests)
}
