// Package lines reads chosen metrics out of Prometheus text that others wrote, line by line: a line that can't be read takes
// no other one along.
package lines

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Bounds of what is kept of a text, in bytes.
const (
	// maxLine bounds a line. vLLM's longest, which describe its configuration, have about 1.5 KB.
	maxLine = 64 << 10
	// maxName bounds the name of a metric, well above the longest that anybody asks for.
	maxName = 256
)

// Sample is one series' value, which is neither negative nor infinite, and a number.
type Sample struct {
	// Labels are sorted by name.
	Labels []*dto.LabelPair
	Value  float64
}

// Wanted gives the name that a metric is asked for by, and "" for one that nobody asks for.
type Wanted func(metric string) string

// Read reads at most maxSamples lines whose metric is wanted, and gives their samples by the names they are asked for by. Skipped
// counts the lines beyond that, those that can't be read and values that measure nothing. All other lines are not looked at.
func Read(text []byte, wanted Wanted, maxSamples int) (samples map[string][]Sample, skipped int) {
	samples = map[string][]Sample{}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	read := 0
	for line := range bytes.Lines(text) {
		line = bytes.Trim(line, " \t\r\n")
		end := bytes.IndexAny(line, "{ \t")
		if end < 0 {
			end = len(line)
		}
		if end > maxName {
			continue
		}
		name := wanted(string(line[:end]))
		if name == "" {
			continue
		}
		s, err := readLine(&parser, name, line[end:])
		if read++; err != nil || read > maxSamples {
			skipped++
			continue
		}
		samples[name] = append(samples[name], s)
	}
	return samples, skipped
}

// readLine reads what follows a metric's name: labels and a value. What may come after that, a time and an exemplar, differs
// between formats and is left to none: it only has to look like that.
func readLine(parser *expfmt.TextParser, name string, rest []byte) (Sample, error) {
	if len(rest) > maxLine {
		return Sample{}, fmt.Errorf("more than %d bytes", maxLine)
	}
	labels, ok := labelsEnd(rest)
	if !ok {
		return Sample{}, errors.New("labels without an end")
	}
	fields := bytes.Fields(rest[labels:])
	if len(fields) == 0 || len(fields) > 1 && !isTime(fields[1]) {
		return Sample{}, errors.New("want a value, and nothing but a time and an exemplar after it")
	}
	if len(fields) > 2 && fields[2][0] != '#' && fields[1][0] != '#' {
		return Sample{}, errors.New("want nothing but an exemplar after the time")
	}
	text := name + string(rest[:labels]) + " " + string(fields[0]) + "\n"
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		return Sample{}, err
	}
	if len(families[name].GetMetric()) != 1 {
		return Sample{}, errors.New("want one value")
	}
	m := families[name].GetMetric()[0]
	s := Sample{Labels: m.GetLabel(), Value: m.GetUntyped().GetValue()}
	slices.SortFunc(s.Labels, func(a, b *dto.LabelPair) int { return strings.Compare(a.GetName(), b.GetName()) })
	if s.Value < 0 || math.IsNaN(s.Value) || math.IsInf(s.Value, 0) {
		return Sample{}, fmt.Errorf("%v measures nothing", s.Value)
	}
	return s, nil
}

// isTime says whether what follows a value is a time, in milliseconds or in seconds with a fraction, or begins an exemplar.
func isTime(field []byte) bool {
	_, err := strconv.ParseFloat(string(field), 64)
	return err == nil || field[0] == '#'
}

// labelsEnd is where the labels end, if there are any. A brace inside of quotes ends nothing.
func labelsEnd(rest []byte) (end int, ok bool) {
	blank := len(rest) - len(bytes.TrimLeft(rest, " \t"))
	if blank == len(rest) || rest[blank] != '{' {
		return blank, true
	}
	quoted := false
	for i := blank; i < len(rest); i++ {
		switch c := rest[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == '}' && !quoted:
			return i + 1, true
		}
	}
	return 0, false
}

// Label is the value of a label, "" if there is none of that name.
func (s Sample) Label(name string) string {
	for _, l := range s.Labels {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}
