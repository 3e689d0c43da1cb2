package engine

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

// Bounds of what is kept of a text.
const (
	// maxLine bounds a line, in bytes. vLLM's longest, which describe its configuration, have about 1.5 KB.
	maxLine = 64 << 10
	// maxSamples bounds the lines that are read: five metrics of each of maxInstances servers, and room.
	maxSamples = 8 * maxInstances
)

// sample is one series' value, which may be a load: neither negative nor infinite, and a number.
type sample struct {
	labels []*dto.LabelPair
	value  float64
}

// read reads the lines whose metric is in the table, by the table's names.
func (r *Reading) read(text []byte) map[string][]sample {
	families := map[string][]sample{}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	samples := 0
	for line := range bytes.Lines(text) {
		line = bytes.Trim(line, " \t\r\n")
		end := bytes.IndexAny(line, "{ \t")
		if end < 0 {
			end = len(line)
		}
		if end > maxName {
			continue
		}
		name := canonical(string(line[:end]))
		if !known[name] {
			continue
		}
		s, err := readLine(&parser, name, line[end:])
		if samples++; err != nil || samples > maxSamples {
			r.Skipped++
			continue
		}
		families[name] = append(families[name], s)
	}
	return families
}

// maxName bounds the name of a metric in bytes, well above the longest in the table.
const maxName = 256

func canonical(name string) string {
	return strings.TrimPrefix(strings.ReplaceAll(name, ":", "_"), "ray_")
}

// readLine reads what follows a metric's name: labels and a value. What may come after that, a time and an exemplar, differs
// between formats and is left to none: it only has to look like that.
func readLine(parser *expfmt.TextParser, name string, rest []byte) (sample, error) {
	if len(rest) > maxLine {
		return sample{}, fmt.Errorf("more than %d bytes", maxLine)
	}
	labels, ok := labelsEnd(rest)
	if !ok {
		return sample{}, errors.New("labels without an end")
	}
	fields := bytes.Fields(rest[labels:])
	if len(fields) == 0 || len(fields) > 1 && !isTime(fields[1]) {
		return sample{}, errors.New("want a value, and nothing but a time and an exemplar after it")
	}
	if len(fields) > 2 && fields[2][0] != '#' && fields[1][0] != '#' {
		return sample{}, errors.New("want nothing but an exemplar after the time")
	}
	text := name + string(rest[:labels]) + " " + string(fields[0]) + "\n"
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		return sample{}, err
	}
	if len(families[name].GetMetric()) != 1 {
		return sample{}, errors.New("want one value")
	}
	m := families[name].GetMetric()[0]
	s := sample{labels: m.GetLabel(), value: m.GetUntyped().GetValue()}
	slices.SortFunc(s.labels, func(a, b *dto.LabelPair) int { return strings.Compare(a.GetName(), b.GetName()) })
	if s.value < 0 || math.IsNaN(s.value) || math.IsInf(s.value, 0) {
		return sample{}, fmt.Errorf("%v is no load", s.value)
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

func (s sample) label(name string) string {
	for _, l := range s.labels {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

func (s sample) has(labels map[string]string) bool {
	for name, value := range labels {
		if s.label(name) != value {
			return false
		}
	}
	return true
}

// part names what the sample is a part of: all its labels but those of copies.
func (s sample) part() string {
	var b strings.Builder
	for _, l := range s.labels {
		if !copyLabels[l.GetName()] {
			fmt.Fprintf(&b, "%q=%q,", l.GetName(), l.GetValue())
		}
	}
	return b.String()
}
