package main

import (
	"fmt"
	"math"
	"strconv"
)

// perMBTable is what a megabyte costs, of whatever a volume has much of.
func (b *bench) perMBTable() string {
	return b.volumeTable("ms/MB", b.volumes, func(v volume) float64 {
		size, _ := v.beyond(b.unary)
		return size / 1e3 // microseconds over kilobytes are milliseconds over megabytes
	})
}

// perEventTable is what an event of a stream costs.
func (b *bench) perEventTable() string {
	var streams []volume
	for _, v := range b.volumes {
		if v.stream {
			streams = append(streams, v)
		}
	}
	return b.volumeTable("µs/event", streams, func(v volume) float64 {
		_, pieces := v.beyond(b.unary)
		return pieces
	})
}

// volumeTable has for each volume what its base doesn't cost: of bare Envoy, and of the others what they have above it.
func (b *bench) volumeTable(unit string, volumes []volume, units func(volume) float64) string {
	variants := volumed(b.variants)
	heads := []string{unit}
	for _, v := range variants {
		if v.name == bare {
			heads = append(heads, v.label)
			continue
		}
		heads = append(heads, v.label+", above it", "95 %")
	}
	t := newTable(heads...)
	for _, volume := range volumes {
		cells := []string{volume.label}
		for _, v := range variants {
			costs := b.beyondBase(v, volume.workload, units(volume))
			cells = append(cells, hundredths(median(costs)))
			if v.name != bare {
				low, high := interval(costs)
				cells = append(cells, hundredths(low)+" to "+hundredths(high))
			}
		}
		t.row(cells...)
	}
	return t.String()
}

// hundredths is a figure to two places. The sum with 0 makes a 0 of the -0 that a small negative one is rounded to.
func hundredths(figure float64) string { return fmt.Sprintf("%.2f", math.Round(figure*100)/100+0) }

// beyondBase is, by round, what a workload costs more than the JSON workload, divided by units; for all variants but the
// bare one, what of it they have above the bare one.
func (b *bench) beyondBase(v *variant, w workload, units float64) []float64 {
	cpu := b.results[v].cpu
	costs := make([]float64, len(cpu[w.name]))
	for i := range costs {
		costs[i] = cpu[w.name][i] - cpu[b.unary.name][i]
		if v.name != bare {
			without := b.results[b.bare()].cpu
			costs[i] -= without[w.name][i] - without[b.unary.name][i]
		}
		costs[i] /= units
	}
	return costs
}

// coreTable has the core's own benchmarks.
func coreTable(benchmarks []benchmark) string {
	t := newTable("benchmark", "µs", "MB/s", "ns/event", "allocations")
	for _, b := range benchmarks {
		cells := []string{"`" + b.name + "`", fmt.Sprintf("%.2f", b.median("ns/op")/1e3)}
		for _, unit := range []string{"MB/s", "ns/event", "allocs/op"} {
			cell := ""
			if _, ok := b.figures[unit]; ok {
				cell = strconv.FormatFloat(b.median(unit), 'f', 0, 64)
			}
			cells = append(cells, cell)
		}
		t.row(cells...)
	}
	return t.String()
}
