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

// learned is the mode in which the filter finds its slots itself.
const learned = "auto"

// shown are the modes as the table and the plot have them.
var shown = []struct{ mode, name, color string }{{"off", "filter off", "#d1495b"}, {"enforce", "filter on", "#00798c"}, {learned, "slots learned", "#edae49"}}

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
		row{"slots, mean", "%.1f", func(t *trial) float64 {
			if t.Mode == "off" {
				return -1
			}
			return t.mean(func(s sample) float64 { return s.Slots })
		}},
		row{"requests a second, all clients", "%.1f", func(t *trial) float64 { return float64(len(t.Requests)) / (t.To - t.From) }})
}

// table has the medians of the runs, with the least and the most.
func table(runs []trial) string {
	var b strings.Builder
	head, line := "| |", "|---|"
	for _, m := range shown {
		if count(runs, m.mode) > 0 {
			head, line = head+" "+m.name+" |", line+"---:|"
		}
	}
	b.WriteString(head + "\n" + line + "\n")
	for _, r := range rows() {
		b.WriteString("| " + r.name + " |")
		for _, m := range shown {
			if count(runs, m.mode) > 0 {
				b.WriteString(" " + r.cell(runs, m.mode) + " |")
			}
		}
		b.WriteString("\n")
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

// line is a mode's last run, as the plot has it.
type line struct {
	name, color string
	*trial
}

// last are the modes' last runs.
func last(runs []trial) (lines []line) {
	for _, m := range shown {
		for i := len(runs) - 1; i >= 0; i-- {
			if runs[i].Mode == m.mode {
				lines = append(lines, line{m.name, m.color, &runs[i]})
				break
			}
		}
	}
	return lines
}

// draw shows the last round: each panel has all modes, but for the times to the first token, which have a panel and a scale for each.
func draw(runs []trial) string {
	kv := plot.Plot{Title: "% of the KV cache in use", Top: 100}
	preempted := plot.Plot{Title: "preemptions since the beginning"}
	waiting := plot.Plot{Title: "requests that wait inside vLLM"}
	slots := plot.Plot{Title: "slots that the filter has for it"}
	var panels []plot.Plot
	duration := math.MaxFloat64
	for i, l := range last(runs) {
		panel := l.firstTokens(l.name + ": seconds to the first token, by the time of the request")
		fit(&panel)
		if i == 0 {
			panel.Title += " (dashed: none until the end)"
		}
		panels = append(panels, panel)
		first := l.Samples[0].Preemptions
		kv.Lines = append(kv.Lines, l.course(func(s sample) float64 { return 100 * s.KV }))
		preempted.Lines = append(preempted.Lines, l.course(func(s sample) float64 { return s.Preemptions - first }))
		waiting.Lines = append(waiting.Lines, l.course(func(s sample) float64 { return s.Waiting }))
		if l.Samples[0].Slots > 0 {
			slots.Lines = append(slots.Lines, l.course(func(s sample) float64 { return s.Slots }))
		}
		duration = min(duration, math.Floor(l.To-l.From))
	}
	panels = append(panels, kv)
	for _, p := range []plot.Plot{preempted, waiting, slots} {
		if len(p.Lines) > 0 {
			fit(&p)
			panels = append(panels, p)
		}
	}
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

// course is what vLLM or the filter says over the time.
func (l line) course(value func(sample) float64) plot.Line {
	drawn := plot.Line{Name: l.name, Color: l.color}
	for _, s := range l.Samples {
		drawn.At, drawn.Values = append(drawn.At, s.At-l.From), append(drawn.Values, value(s))
	}
	return drawn
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
