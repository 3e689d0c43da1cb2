package main

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"math"
	"slices"
	"strings"
	"text/template"
	"time"
)

//go:embed report.md.tmpl
var reportText string

// enoughRounds is from how many rounds on an interval means something.
const enoughRounds = 10

// page is what the report's text leaves open.
type page struct {
	Command, Took          string
	Short                  bool // too short to be relied on
	Host                   host
	Variants               string
	Users                  int
	Rounds, Starts, Passes int
	Requests, Streams      int // of a round
	WarmRequests           int
	WarmStreams            int
	Total                  int // requests of one process
	Connections            int
	ManyWorkers            int
	ProcessRounds          int
	Rate                   string
	Pass                   time.Duration
	Targets                string
	JSON, SSE              section
	Refusals               string
	PerMB, PerEvent, Core  string
	CoreCount              int
	Memory, Modules, Guest string
	YardsBefore            float64
	Latency, Polling       string
	PollsFaster            int
	Overload               section
	Retreat                string
	Slots, Overloaded      int // of the server, and by how much
	Service, Load, Minute  time.Duration
	Base, Allowed, Minutes int
	Gates, Peers           string
}

// section is one workload.
type section struct{ Text, Table string }

// report is the whole text, or the present one with another section about the gates.
func (b *bench) report(ctx context.Context, took time.Duration, file string) ([]byte, error) {
	if b.onlyTurns {
		return b.turnsReport(ctx, took)
	}
	if b.onlyPeers {
		section, err := b.peersSection(ctx, took)
		if err != nil {
			return nil, err
		}
		return replaceSection(file, peersBegin, peersEnd, section)
	}
	gates, err := b.gatesSection(ctx)
	if err != nil {
		return nil, err
	}
	if b.onlyGates {
		return replaceSection(file, gatesBegin, gatesEnd, gates)
	}
	peers, err := keptSection(file, peersBegin, peersEnd)
	if err != nil {
		return nil, err
	}
	return b.wholeReport(ctx, took, gates, peers)
}

func (b *bench) wholeReport(ctx context.Context, took time.Duration, gates, peers string) ([]byte, error) {
	p := page{
		Command: b.command, Took: took.Round(time.Second).String(), Host: describeHost(ctx, b.root, b.envoyVersion),
		Short: b.rounds < enoughRounds, Variants: b.variantTable(), Users: users,
		Rounds: b.rounds, Starts: b.starts, Passes: b.passes, Requests: b.requests, Streams: b.streams,
		WarmRequests: warmRequests, WarmStreams: warmStreams, Total: b.total,
		Connections: connections, ManyWorkers: manyWorkers, ProcessRounds: processRounds, Rate: fmt.Sprintf("%.0f", b.rate), Pass: b.pass,
		Targets: b.targetTable(), JSON: b.jsonSection(), SSE: b.streamSection(), Refusals: b.refusalTable(),
		PerMB: b.perMBTable(), PerEvent: b.perEventTable(), Core: coreTable(b.bodyBenchmarks()), CoreCount: coreCount,
		Gates: gates, Peers: peers, Memory: b.memoryTable(), Modules: b.moduleTable(), Guest: b.guestTable(), YardsBefore: yardsBefore,
		Latency: b.latencyTable(), Polling: b.pollingText(), PollsFaster: pollsFaster,
		Overload: section{b.overloadText(), b.overloadTable()}, Retreat: b.retreatTable(),
		Slots: serverSlots, Overloaded: overloadBy, Service: serverTime, Load: b.overloadTime, Minute: minute,
		Base: baseRate, Allowed: allowedRate, Minutes: b.retreatMinutes,
	}
	return fill(reportText, p)
}

// fill writes a template's text.
func fill(text string, values any) ([]byte, error) {
	parsed, err := template.New("report").Parse(text)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := parsed.Execute(&out, values); err != nil {
		return nil, fmt.Errorf("write the report: %w", err)
	}
	return out.Bytes(), nil
}

// table is a Markdown table: the first column is text, the others are figures.
type table struct{ strings.Builder }

func newTable(heads ...string) *table {
	t := &table{}
	t.row(heads...)
	t.WriteString("|---" + strings.Repeat("|---:", len(heads)-1) + "|\n")
	return t
}

func (t *table) row(cells ...string) { t.WriteString("| " + strings.Join(cells, " | ") + " |\n") }

func (b *bench) variantTable() string {
	var t table
	t.row("variant", "", "as `-variants` has it")
	t.WriteString("|---|---|---|\n")
	for _, v := range slices.Concat(b.variants, b.refusers) {
		t.row(v.label, v.note, "`"+v.name+"`")
	}
	return t.String()
}

// summary is how one variant compares with the bare one.
type summary struct {
	cpu, least, most     float64 // microseconds a request
	ratio, low, high     float64 // the median of the rounds' ratios, and its interval
	leastRatio, topRatio float64
	added                float64 // microseconds a request above the bare one, median of the rounds
}

func (b *bench) summarize(v *variant, w workload) summary {
	cpu, base := b.results[v].cpu[w.name], b.results[b.bare()].cpu[w.name]
	relative := ratios(cpu, base)
	added := make([]float64, len(cpu))
	for i := range cpu {
		added[i] = cpu[i] - base[i]
	}
	s := summary{
		cpu: median(cpu), least: slices.Min(cpu), most: slices.Max(cpu),
		ratio: median(relative), leastRatio: slices.Min(relative), topRatio: slices.Max(relative), added: median(added),
	}
	s.low, s.high = interval(relative)
	return s
}

// compared are the last cells of a row: the ratio and how sure it is.
func (s summary) compared(v *variant) []string {
	if v.name == bare {
		return []string{"1", "", ""}
	}
	return []string{
		fmt.Sprintf("**%.2f**", s.ratio), fmt.Sprintf("%.2f to %.2f", s.low, s.high),
		fmt.Sprintf("%.2f to %.2f", s.leastRatio, s.topRatio),
	}
}

func (b *bench) jsonSection() section {
	text := fmt.Sprintf("A chat completion: a request of %d bytes, an answer of %d bytes with %d completion tokens.",
		len(b.unary.body), b.unary.answerBytes(), b.unary.tokens)
	return section{text, b.cpuTable(b.variants, b.unary)}
}

// cpuTable is what a request takes of each variant, the first being the bare one.
func (b *bench) cpuTable(variants []*variant, w workload) string {
	t := newTable("", "µs/request, median", "least to most", "× bare", "95 %", "range")
	for _, v := range variants {
		s := b.summarize(v, w)
		cells := []string{v.label, fmt.Sprintf("%.0f", s.cpu), fmt.Sprintf("%.0f to %.0f", s.least, s.most)}
		t.row(append(cells, s.compared(v)...)...)
	}
	return t.String()
}

// refusalTable is what a refusal takes, one at a time from a few connections, and from many.
func (b *bench) refusalTable() string {
	t := newTable("", "µs/refusal, median", "÷ what passes bare", "95 %", "in a flood, µs", "÷ what passes bare", "95 %", "of a core, for 1000 a second")
	for _, v := range append(b.variants[:1:1], b.refusers...) {
		few, many := b.summarize(v, named(refusal, b.unary)), b.summarize(v, named(flood, b.unary))
		t.row(v.label, fmt.Sprintf("%.0f", few.cpu), few.compared(v)[0], few.compared(v)[1],
			fmt.Sprintf("%.0f", many.cpu), many.compared(v)[0], many.compared(v)[1], fmt.Sprintf("%.0f %%", many.cpu/10))
	}
	return t.String()
}

func (b *bench) streamSection() section {
	t := newTable("", "µs/stream, median", "least to most", "µs/event", "µs/event above bare", "× bare", "95 %", "range")
	for _, v := range b.variants {
		s := b.summarize(v, b.stream)
		above := ""
		if v.name != bare {
			above = fmt.Sprintf("%.1f", s.added/streamEvents)
		}
		cells := []string{
			v.label, fmt.Sprintf("%.0f", s.cpu), fmt.Sprintf("%.0f to %.0f", s.least, s.most),
			fmt.Sprintf("%.1f", s.cpu/streamEvents), above,
		}
		t.row(append(cells, s.compared(v)...)...)
	}
	text := fmt.Sprintf("A chat completion as server-sent events: a request of %d bytes, an answer of %d events, %d bytes in all, "+
		"each event sent by itself. The request asks for the usage. \"µs/event\" is a stream's CPU, the request's included, "+
		"divided by its events.", len(b.stream.body), streamEvents, b.stream.answerBytes())
	return section{text, t.String()}
}

// turnsReport is what there is to say when only the CPU of some workloads was measured.
func (b *bench) turnsReport(ctx context.Context, took time.Duration) ([]byte, error) {
	h := describeHost(ctx, b.root, b.envoyVersion)
	text := fmt.Sprintf("# Benchmarks, in part\n\n`%s`, %s, %s, Envoy %s, %d × %s, took %s: %d rounds.\n\n%s",
		b.command, h.Date, h.Commit, h.Envoy, h.Cores, h.CPU, took.Round(time.Second), b.rounds, b.targetTable())
	for _, p := range b.turns {
		text += "\n" + p.name + "\n\n" + b.cpuTable(p.variants, p.workload)
	}
	if b.rate > 0 {
		text += fmt.Sprintf("\nlatency at %.0f a second\n\n", b.rate) + b.latencyTable()
	}
	if len(b.guest.own) > 0 {
		text += "\nwithout Envoy\n\n" + b.guestTable()
	}
	return []byte(text), nil
}

func (b *bench) memoryTable() string {
	t := newTable("", "ready, s", "RSS at start, MB", "after load", "at the end", "each further worker, at start", "after load")
	// The sum with 0 makes a 0 of the -0 that a small negative difference is rounded to.
	mega := func(bytes float64) string { return fmt.Sprintf("%.1f", math.Round(bytes/1e5)/10+0) }
	for _, v := range append(slices.Clone(b.variants), b.stockOnce) {
		r := b.results[v]
		start := median(r.memory)
		if v == b.stockOnce {
			t.row(v.label, fmt.Sprintf("%.2f", median(r.ready)), mega(start), "", "", mega((median(r.manyStart)-start)/(manyWorkers-1)), "")
			continue
		}
		t.row(v.label, fmt.Sprintf("%.2f", median(r.ready)), mega(start), mega(r.loaded), mega(r.end),
			mega((median(r.manyStart)-start)/(manyWorkers-1)), mega((r.manyLoaded-r.loaded)/(manyWorkers-1)))
	}
	return t.String()
}

func (b *bench) moduleTable() string {
	t := newTable("module", "bytes", "gzip")
	for _, m := range []struct {
		name string
		module
	}{{"Spillway", b.spillway}, {"the same, stock Go's build", b.stock}, {"no-op Wasm", b.noop}} {
		t.row(m.name, fmt.Sprint(m.size), fmt.Sprint(m.gzip))
	}
	return t.String()
}

func (b *bench) latencyTable() string {
	t := newTable("", "p50, ms", "least to most", "p99, ms", "least to most", "p99, once sent", "generator late, p99", "Envoy waited for a core")
	for _, v := range b.variants {
		of := func(figure func(pass) float64) (middle, span string) {
			var values []float64
			for _, p := range b.results[v].passes {
				values = append(values, figure(p))
			}
			return hundredths(median(values)), hundredths(slices.Min(values)) + " to " + hundredths(slices.Max(values))
		}
		p50, p50s := of(func(p pass) float64 { return p.p50 })
		p99, p99s := of(func(p pass) float64 { return p.p99 })
		answer, _ := of(func(p pass) float64 { return p.answer })
		late, _ := of(func(p pass) float64 { return p.late })
		starved, _ := of(func(p pass) float64 { return 100 * p.starved })
		t.row(v.label, p50, p50s, p99, p99s, answer, late, starved+" %")
	}
	return t.String()
}
