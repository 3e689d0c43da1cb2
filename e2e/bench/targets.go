package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// target is a figure that the filter has to reach. Its values are one for each round, or for each start.
type target struct {
	what    string
	atLeast float64 // the highest median that will do
	values  []float64
}

// targets are those of which something was measured, of this build or of the other one.
func (b *bench) targets(build string) (list []target) {
	add := func(what string, atLeast float64, values []float64) {
		if len(values) > 0 {
			list = append(list, target{what, atLeast, values})
		}
	}
	once, times, lua := b.find(limitedOnce+build), b.find(limitedTimes+build), b.find(luaParse)
	add("added CPU of a JSON request with one limit ÷ what Lua's bare parse adds", 2, b.addedRatio(once, lua, b.unary.name))
	add("added CPU of a stream of 50 events ÷ what Lua adds", 0.9, b.addedRatio(once, lua, b.stream.name))
	add("a refusal by a limit of requests ÷ a request that passes bare Envoy", 0.9, b.ratio(b.find(refuseEarly+build), refusal))
	add("a refusal by a limit of tokens ÷ the same", 0.9, b.ratio(b.find(refuseLate+build), refusal))
	add("three limits of one subject ÷ one limit, CPU added", 1.05, b.addedRatio(times, once, b.unary.name))
	if build != "" {
		return list
	}
	add("the filter's own time of a JSON request in another V8, stock Go before the work = 1", 0.2, b.guest.beside(b.guest.before()))
	if b.onlyTurns {
		return list
	}
	add("ready, stock Go's build = 1", 0.25, ratios(b.results[once].ready, b.results[b.stockOnce].ready))
	first, further := b.addedMemory(once)
	add("memory added at start by one worker, MB", 50, first)
	add("and by each further worker, MB", 1, further)
	add("module, MB", 0.9, []float64{float64(b.spillway.size) / 1e6})
	return list
}

// addedMemory is what a variant adds to bare Envoy at each start: with one worker, and for each further one.
func (b *bench) addedMemory(v *variant) (first, further []float64) {
	with, without := b.results[v], b.results[b.bare()]
	for i := range with.memory {
		one, many := with.memory[i]-without.memory[i], with.manyStart[i]-without.manyStart[i]
		first, further = append(first, one/1e6), append(further, (many-one)/(manyWorkers-1)/1e6)
	}
	return first, further
}

// find is a variant by its name, nil where it isn't measured.
func (b *bench) find(name string) *variant {
	all := slices.Concat(b.variants, b.refusers)
	if at := slices.IndexFunc(all, func(v *variant) bool { return v.name == name }); at >= 0 {
		return all[at]
	}
	return nil
}

// cpuOf is what was measured of a variant, by round; nothing of one that there isn't.
func (b *bench) cpuOf(v *variant, workload string) []float64 {
	if v == nil {
		return nil
	}
	return b.results[v].cpu[workload]
}

func (b *bench) ratio(v *variant, workload string) []float64 {
	return ratios(b.cpuOf(v, workload), b.cpuOf(b.bare(), workload))
}

// addedRatio is what one variant adds to the bare one, divided by what the other adds, by round. What seems to add nothing in
// a round adds too little to be told from the machine's noise: then the ratio is without bound, not negative.
func (b *bench) addedRatio(v, other *variant, workload string) (values []float64) {
	base, cpu, others := b.cpuOf(b.bare(), workload), b.cpuOf(v, workload), b.cpuOf(other, workload)
	if len(others) == 0 {
		return nil
	}
	for i := range cpu {
		ratio := math.Inf(1)
		if added := others[i] - base[i]; added > 0 {
			ratio = (cpu[i] - base[i]) / added
		}
		values = append(values, ratio)
	}
	return values
}

func (b *bench) targetTable() string {
	t := newTable("", "measured", "95 %", "at least", "holds")
	for _, build := range []string{"", against} {
		for _, g := range b.targets(build) {
			low, high := interval(g.values)
			number := func(x float64) string { return fmt.Sprintf("%.2f", x) }
			t.row(g.what+strings.Replace(build, against, ", the other build", 1), "**"+number(median(g.values))+"**",
				number(low)+" to "+number(high), number(g.atLeast), verdict(median(g.values), low, high, g.atLeast))
		}
	}
	return t.String()
}

// verdict says whether what was measured is low enough, and whether this run is sure of it.
func verdict(middle, low, high, atLeast float64) string {
	word := "yes"
	if middle > atLeast {
		word = "no"
	}
	if low <= atLeast && high > atLeast {
		word += ", but the interval has both"
	}
	return word
}
