package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/plot"
)

// surgeTable has the arms side by side: medians of the rounds, and their ranges.
func (b *bench) surgeTable() string {
	t := newTable("", "in time, of what was sent", "answered, of what was sent", "in time, of all requests", "answered in the end, of all",
		"p50, ms", "p95, ms", "p99, ms", "in time a second")
	for i, arm := range surgeArms() {
		over := func(format string, value func(*surged) float64) string { return ranged(b.surges[i], format, value) }
		t.row(arm.name,
			over("%.1f %%", func(s *surged) float64 { return 100 * s.sentInTime }),
			over("%.1f %%", func(s *surged) float64 { return 100 * s.sentAnswered }),
			over("%.1f %%", func(s *surged) float64 { return 100 * s.allInTime }),
			over("%.1f %%", func(s *surged) float64 { return 100 * s.allAnswered }),
			over("%.0f", func(s *surged) float64 { return s.p50 }),
			over("%.0f", func(s *surged) float64 { return s.p95 }),
			over("%.0f", func(s *surged) float64 { return s.p99 }),
			over("%.1f", func(s *surged) float64 { return s.goodput }))
	}
	return t.String()
}

// ranged is the median of the rounds, with the least and the greatest of them.
func ranged(runs []*surged, format string, value func(*surged) float64) string {
	values := make([]float64, len(runs))
	for i, s := range runs {
		values[i] = value(s)
	}
	bare := strings.TrimSuffix(format, " %%")
	return fmt.Sprintf("**"+format+"** ("+bare+" to "+bare+")", median(values), slices.Min(values), slices.Max(values))
}

// surgeLanes has for each priority what came of its first attempts: medians of the rounds.
func (b *bench) surgeLanes() string {
	heads := []string{"", "requests"}
	for _, arm := range surgeArms() {
		heads = append(heads, arm.name+": in time")
		if arm.config != "" {
			heads = append(heads, "refused")
		}
	}
	t := newTable(heads...)
	for _, p := range priorities {
		cells := []string{strings.ToUpper(p.name), strconv.Itoa(b.surges[0][0].priorities[p.name].requests)}
		for i, arm := range surgeArms() {
			share := func(count func(*lane) int) string {
				var shares []float64
				for _, s := range b.surges[i] {
					l := s.priorities[p.name]
					shares = append(shares, 100*part(count(l), l.requests))
				}
				return fmt.Sprintf("%.1f %%", median(shares))
			}
			cells = append(cells, share(func(l *lane) int { return l.inTime }))
			if arm.config != "" {
				cells = append(cells, share(func(l *lane) int { return l.refused }))
			}
		}
		t.row(cells...)
	}
	return t.String()
}

// surgeReasons says why the arms refused, of all rounds together.
func (b *bench) surgeReasons() string {
	t := newTable("refused at the first attempt, all rounds", "", "in time, had it been let pass")
	for i, arm := range surgeArms() {
		counts := map[string]int{}
		for _, s := range b.surges[i] {
			for _, l := range s.priorities {
				for reason, n := range l.reasons {
					counts[reason] += n
				}
			}
		}
		var parts []string
		for reason, n := range counts {
			parts = append(parts, fmt.Sprintf("`%s` %d", reason, n))
		}
		slices.Sort(parts)
		if arm.config != "" {
			t.row(arm.name, strings.Join(parts, ", "), needless(b.surges[i]))
		}
	}
	return t.String()
}

// needless says how many of those refused would have been in time; nothing where nobody was.
func needless(runs []*surged) string {
	if !slices.ContainsFunc(runs, func(s *surged) bool { return s.refusedShare() > 0 }) {
		return ""
	}
	return over("%.0f %%", runs, func(s *surged) float64 { return 100 * s.needless })
}

// over is the median of the rounds.
func over(format string, runs []*surged, value func(*surged) float64) string {
	values := make([]float64, len(runs))
	for i, s := range runs {
		values[i] = value(s)
	}
	return fmt.Sprintf(format, median(values))
}

// surgeText says what gain the gates have had, in the same round.
func (b *bench) surgeText() string {
	gain := func(arm int, value func(*surged) float64) string {
		middle, span := gained(b.surges[0], b.surges[arm], value)
		return middle + " points " + span
	}
	var lines []string
	for i, arm := range surgeArms()[1:] {
		lines = append(lines, fmt.Sprintf("- **%s**: %s of what was sent, %s of all requests.", arm.name,
			gain(i+1, func(s *surged) float64 { return s.sentInTime }), gain(i+1, func(s *surged) float64 { return s.allInTime })))
	}
	return strings.Join(lines, "\n") + "\n"
}

// savedText says how much sooner 95 of 100 of what was answered had its first token.
func (b *bench) savedText() string {
	p95 := func(arm string) float64 {
		i := slices.IndexFunc(surgeArms(), func(a surgeArm) bool { return a.name == arm })
		values := make([]float64, len(b.surges[i]))
		for round, s := range b.surges[i] {
			values[round] = s.p95
		}
		return median(values)
	}
	off, all := p95("off"), p95("all three gates")
	return fmt.Sprintf("%.0f ms with all three gates, %.0f ms without: %.0f %% less", all, off, 100*(1-all/off))
}

// surgeBin is how many seconds a point of the plot stands for.
const surgeBin = 2

// drawSurge writes the plot beside the report: the first round, without the filter, with the gates, and with slots, too.
func (b *bench) drawSurge(out string) error {
	if b.surges == nil {
		return nil
	}
	arrivals := b.surges[0][0].course.requests
	capacity := plot.Line{Name: "capacity", Color: "#888888", Dashed: true,
		At: []float64{0, b.surgeTime.Seconds()}, Values: []float64{surgeCapacity(), surgeCapacity()}}
	load := plot.Plot{Title: "requests a second", Top: 120, Lines: []plot.Line{capacity, {Name: "sent", Color: "#444444"}}}
	for i, n := range arrivals {
		load.Lines[1].At, load.Lines[1].Values = append(load.Lines[1].At, float64(i)+0.5), append(load.Lines[1].Values, n)
	}
	shares := plot.Plot{Title: "% of all requests with the first token within 200 ms", Top: 100}
	target := float64(surgeTarget.Milliseconds())
	slow := plot.Plot{Title: "p95 of the time to the first token, ms, of what was sent", Top: 400, Lines: []plot.Line{
		{Name: "target", Color: "#888888", Dashed: true, At: []float64{0, b.surgeTime.Seconds()}, Values: []float64{target, target}}}}
	arms := surgeArms()
	for i, name := range []string{"off", "three gates", "gates and slots"} {
		arm := []int{0, slices.IndexFunc(arms, func(a surgeArm) bool { return a.name == "all three gates" }), len(arms) - 1}[i]
		share, p95 := b.surges[arm][0].course.lines()
		share.Name, share.Color = name, []string{"#d1495b", "#00798c", "#edae49"}[i]
		p95.Name, p95.Color = share.Name, share.Color
		shares.Lines, slow.Lines = append(shares.Lines, share), append(slow.Lines, p95)
	}
	svg := plot.Draw(b.surgeTime.Seconds(), "seconds", load, shares, slow)
	return os.WriteFile(filepath.Join(filepath.Dir(out), "surge.svg"), []byte(svg), 0o644)
}

// lines are the share in time and the P95, by bins of some seconds. Where nothing was sent there is no point.
func (c *course) lines() (share, p95 plot.Line) {
	for from := 0; from+surgeBin <= len(c.requests); from += surgeBin {
		requests, inTime, at := 0.0, 0.0, float64(from)+surgeBin/2.0
		var ttft []time.Duration
		for i := from; i < from+surgeBin; i++ {
			requests, inTime, ttft = requests+c.requests[i], inTime+c.inTime[i], append(ttft, c.ttft[i]...)
		}
		share.At, share.Values = append(share.At, at), append(share.Values, 100*inTime/math.Max(requests, 1))
		if len(ttft) > 0 {
			p95.At, p95.Values = append(p95.At, at), append(p95.Values, quantile(ttft, 0.95).Seconds()*1e3)
		}
	}
	return share, p95
}
