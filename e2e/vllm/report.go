package main

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"

	"github.com/spillway-proxy/spillway/e2e/support/plot"
	"github.com/spillway-proxy/spillway/internal/docpages"
)

// What lies between these lines of the document is written by this program.
const (
	begin = "<!-- vllm:begin -->\n"
	end   = "<!-- vllm:end -->\n"
)

// writeReport puts the table into the document, and the plot beside it.
func writeReport() error {
	var runs []trial
	if err := readRuns(&runs); err != nil {
		return err
	}
	if count(runs, "off") == 0 || count(runs, "enforce") == 0 {
		fmt.Println("nothing is written: the table compares runs with the filter off and on")
		return nil
	}
	doc, err := os.ReadFile(docFile)
	if err != nil {
		return err
	}
	doc, err = insert(doc, table(runs))
	if err == nil {
		err = os.WriteFile(docFile, doc, 0o644)
	}
	if err == nil {
		err = os.WriteFile(plotFile, []byte(draw(runs)), 0o644)
	}
	if err == nil {
		fmt.Println("wrote the table of " + docFile + ", and " + plotFile)
	}
	return err
}

// insert replaces what is between the marks.
func insert(doc []byte, text string) ([]byte, error) {
	replaced, ok := docpages.Replace(string(doc), begin, end, text)
	if !ok {
		return nil, errors.New(docFile + " must have the marks " + strings.TrimSpace(begin) + " and " + strings.TrimSpace(end))
	}
	return []byte(replaced), nil
}

// row is one measure.
type row struct {
	name, format string
	value        func(*trial) float64
}

func rows() (list []row) {
	name := func(text, priority string) string { return text + " " + strings.ToUpper(priority) }
	for _, l := range lanes {
		list = append(list,
			row{name("time to the first token, p50, s:", l.priority), "%.2f", func(t *trial) float64 { return t.ttft(l.priority, 0.5) }},
			row{name("p95, s:", l.priority), "%.2f", func(t *trial) float64 { return t.ttft(l.priority, 0.95) }})
	}
	for _, l := range lanes {
		list = append(list, row{name("answered in time, %:", l.priority), "%.0f", func(t *trial) float64 { return t.share(l.priority, request.inTime) }})
	}
	for _, l := range lanes {
		list = append(list, row{name("refused, %:", l.priority), "%.0f", func(t *trial) float64 {
			return t.share(l.priority, func(r request) bool { return r.Outcome == refused })
		}})
	}
	return append(list,
		row{"goodput: tokens/s of answers in time", "%.0f", func(t *trial) float64 { return t.goodput("") }},
		row{"tokens/s that vLLM made", "%.0f", (*trial).generated},
		row{"preemptions a minute", "%.1f", func(t *trial) float64 { return t.preemptions() * 60 / (t.To - t.From) }},
		row{"KV cache in use, mean, %", "%.0f", func(t *trial) float64 { return 100 * t.mean(func(s sample) float64 { return s.KV }) }},
		row{"time with more than 95 % of it in use, %", "%.0f", func(t *trial) float64 { return t.above(0.95) }},
		row{"requests that wait inside vLLM, mean", "%.1f", func(t *trial) float64 { return t.mean(func(s sample) float64 { return s.Waiting }) }},
		row{"requests a second, all clients", "%.1f", func(t *trial) float64 { return float64(len(t.Requests)) / (t.To - t.From) }})
}

// table has the medians of the runs, with the least and the most.
func table(runs []trial) string {
	var b strings.Builder
	b.WriteString("| | filter off | filter on |\n|---|---:|---:|\n")
	for _, r := range rows() {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", r.name, r.cell(runs, "off"), r.cell(runs, "enforce"))
	}
	return b.String()
}

func (r row) cell(runs []trial, mode string) string {
	var values []float64
	for i := range runs {
		if runs[i].Mode != mode {
			continue
		}
		if v := r.value(&runs[i]); v >= 0 {
			values = append(values, v)
		}
	}
	if len(values) == 0 {
		return ""
	}
	slices.Sort(values)
	n := len(values)
	median := (values[(n-1)/2] + values[n/2]) / 2
	number := func(v float64) string { return fmt.Sprintf(r.format, v) }
	if number(values[0]) == number(values[n-1]) {
		return "**" + number(median) + "**"
	}
	return fmt.Sprintf("**%s** (%s to %s)", number(median), number(values[0]), number(values[n-1]))
}

// draw shows the last round: each panel has the filter off and on, but for the times to the first token, which have a panel
// and a scale for each.
func draw(runs []trial) string {
	var off, on *trial
	for i := range runs {
		if runs[i].Mode == "off" {
			off = &runs[i]
		} else {
			on = &runs[i]
		}
	}
	modes := []struct {
		name, color string
		t           *trial
	}{{"filter off", "#d1495b", off}, {"filter on", "#00798c", on}}
	kv := plot.Plot{Title: "% of the KV cache in use", Top: 100}
	preempted := plot.Plot{Title: "preemptions since the beginning"}
	waiting := plot.Plot{Title: "requests that wait inside vLLM"}
	for _, m := range modes {
		first := m.t.Samples[0].Preemptions
		kv.Lines = append(kv.Lines, m.t.course(m.name, m.color, func(s sample) float64 { return 100 * s.KV }))
		preempted.Lines = append(preempted.Lines, m.t.course(m.name, m.color, func(s sample) float64 { return s.Preemptions - first }))
		waiting.Lines = append(waiting.Lines, m.t.course(m.name, m.color, func(s sample) float64 { return s.Waiting }))
	}
	fit(&preempted)
	fit(&waiting)
	var panels []plot.Plot
	for _, m := range modes {
		panel := m.t.firstTokens(m.name + ": seconds to the first token, by the time of the request")
		fit(&panel)
		panels = append(panels, panel)
	}
	panels[0].Title += " (dashed: none until the end)"
	duration := float64(int(min(off.To-off.From, on.To-on.From)))
	panels = append(panels, kv, preempted, waiting)
	for i := range panels {
		cut(panels[i].Lines, duration)
	}
	return plot.Draw(duration, "seconds", panels...)
}

// cut ends lines where the picture does.
func cut(lines []plot.Line, duration float64) {
	for i := range lines {
		l := &lines[i]
		n, _ := slices.BinarySearch(l.At, duration)
		l.At, l.Values = l.At[:n], l.Values[:n]
	}
}

// course is a line of what vLLM says.
func (t *trial) course(name, color string, value func(sample) float64) plot.Line {
	l := plot.Line{Name: name, Color: color}
	for _, s := range t.Samples {
		l.At, l.Values = append(l.At, s.At-t.From), append(l.Values, value(s))
	}
	return l
}

// firstTokens has a line for each priority, and a dashed one for what has waited in vain. What was refused is left out.
func (t *trial) firstTokens(title string) plot.Plot {
	p := plot.Plot{Title: title}
	var waited []plot.Line
	colors := map[string]string{"urgent": "#6a0dad", "normal": "#00798c", "low": "#edae49"}
	for _, l := range lanes {
		line := plot.Line{Name: strings.ToUpper(l.priority), Color: colors[l.priority]}
		vain := plot.Line{Color: line.Color, Dashed: true}
		list := t.of(l.priority, "")
		slices.SortFunc(list, func(a, b request) int { return cmp.Compare(a.Began, b.Began) })
		for _, r := range list {
			to := &line
			switch {
			case r.Outcome == refused:
				continue
			case r.Outcome == unfinished && r.TTFT == r.Ended-r.Began:
				to = &vain
			}
			to.At, to.Values = append(to.At, r.Began-t.From), append(to.Values, r.TTFT)
		}
		p.Lines = append(p.Lines, line)
		if len(vain.At) > 0 {
			waited = append(waited, vain) // after the others, since their places in the legend have no text
		}
	}
	p.Lines = append(p.Lines, waited...)
	return p
}

// fit gives a plot a scale, in steps of 4, so that all its ticks are whole numbers.
func fit(p *plot.Plot) {
	p.Top = 4
	for _, l := range p.Lines {
		for _, v := range l.Values {
			p.Top = max(p.Top, 4*math.Ceil(v/4))
		}
	}
}
