// Bench compares what Spillway costs with bare Envoy and with what else could be put there, and writes
// docs/benchmarks.md. It is `make bench`; the report says how it measures.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Where the report goes. Only a full run may replace the published one.
const (
	reportFile  = "docs/benchmarks.md"
	partialFile = "build/benchmarks.md"
)

// options are what a user can choose, and what follows from it.
type options struct {
	rounds   int
	requests int // JSON requests of one variant in one round
	streams  int // SSE requests
	starts   int
	slices   int           // of the measurement in Node
	passes   int           // of the latency measurement
	pass     time.Duration // length of one
	coreTime time.Duration // of one benchmark of the core, each time

	overloadTime   time.Duration // of each run of the overload
	retreatMinutes int           // of the upstream that allows less, each a little more than a second
	surgeTime      time.Duration // of each run of the surge
	surgeRounds    int
	surgeOnly      string // names of arms: nothing else is measured
	traceOnly      string // names of traces: the same
	traceRounds    int

	variants  []*variant // but those that refuse
	refusers  []*variant
	turns     []turn
	onlyTurns bool
	extra     []string   // what is measured besides, where only some workloads are
	gates     []*variant // what is measured for the cost of gates
	onlyGates bool
	onlyPeers bool
	onlySlots string // what learned slots are worth: overload, engine, halves
	out       string
	command   string // for the report
}

const help = `bench measures what Spillway costs beside bare Envoy and beside what else could be put there.

It needs the filter, build/spillway.wasm or what $SPILLWAY_WASM names, and Envoy: "make bench" provides both. With -quick, -variants,
-against or -workloads the report goes to ` + partialFile + `, unless -out says otherwise. With -gates or -peers it replaces its
section of a report that is there. The CPU of a request alone, as the release has it, within a minute or two:

  SPILLWAY_WASM=$PWD/build/spillway-release.wasm build/bench -workloads JSON,SSE -rounds 20 -variants lua,spillway-1

`

func parse(args []string) (options, error) {
	o := options{
		starts: 5, slices: 40, passes: 5, pass: 2 * time.Second, coreTime: 300 * time.Millisecond, command: "make bench",
		overloadTime: 20 * time.Second, retreatMinutes: 50, surgeTime: 100 * time.Second, surgeRounds: 3, traceRounds: 2, gates: gateVariants(),
	}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), help)
		flags.PrintDefaults()
	}
	flags.IntVar(&o.rounds, "rounds", 60, "rounds, in each of which every variant is measured")
	flags.IntVar(&o.requests, "requests", 500, "JSON requests of a variant in a round; streams are an eighth of it")
	workloads := flags.String("workloads", "", "comma-separated `names` of workloads: only the CPU that these take is measured, and with "+latencies+" and "+guest+" that, too")
	list := flags.String("variants", "", "comma-separated `names` of variants to measure, beside "+bare+"; none: all")
	against := flags.String("against", "", "`file` of another build of the filter, which is measured in turn with this one")
	quick := flags.Bool("quick", false, "a run of a minute that only shows that all works; its figures are worth little")
	flags.BoolVar(&o.onlyGates, "gates", false, "only what the adaptive gates cost, and what they are worth in a surge and on other traces")
	flags.StringVar(&o.surgeOnly, "surge", "", "comma-separated `names` of ways to meet the surge: only these are tried, and told; no report is written")
	flags.IntVar(&o.surgeRounds, "surge-rounds", o.surgeRounds, "rounds of the surge")
	flags.StringVar(&o.traceOnly, "traces", "", "comma-separated `names` of traces, or all: only these are tried, with and without gates, and told; no report is written")
	flags.IntVar(&o.traceRounds, "trace-rounds", o.traceRounds, "rounds of each trace, of half a minute")
	flags.StringVar(&o.onlySlots, "slots", "", "`which`: overload, engine or halves, or several with commas: only what learned slots are worth there, a minute or two each, is told, and no report is written; engine needs gpuexporter")
	flags.BoolVar(&o.onlyPeers, "peers", false, "only what others use instead, side by side: `make bench-peers`")
	flags.StringVar(&o.out, "out", "", "`file` of the report (default "+reportFile+")")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("%q is not a flag", flags.Arg(0))
	}
	set := map[string]bool{}
	flags.Visit(func(f *flag.Flag) {
		set[f.Name] = true
		o.command = "build/bench"
	})
	flags.Visit(func(f *flag.Flag) { o.command += " -" + strings.TrimSuffix(f.Name+"="+f.Value.String(), "=true") })
	if o.onlyPeers {
		o.fewer(set)
	}
	if *quick {
		o.hurry(set)
	}
	o.streams = o.requests / 8
	if o.rounds < 1 || o.streams < 1 {
		return o, errors.New("-rounds must be at least 1, and -requests at least 8")
	}
	if o.out == "" {
		o.out = reportFile
		if *quick || *list != "" || *against != "" || *workloads != "" {
			o.out = partialFile
		}
	}
	var err error
	if o.variants, o.refusers, err = choose(*list, *against); err != nil {
		return o, err
	}
	o.onlyTurns = *workloads != ""
	if !o.onlyTurns && !o.onlyGates && !o.onlyPeers && o.onlySlots == "" && !slices.ContainsFunc(o.variants, func(v *variant) bool { return v.name == limitedOnce }) {
		return o, errors.New("-variants: without -workloads, " + limitedOnce + " has to be there, with which stock Go's start is compared")
	}
	err = o.chooseTurns(*workloads)
	return o, err
}

// fewer are what the slowest of the peers can do in a quarter of an hour, where nothing else was asked for.
func (o *options) fewer(set map[string]bool) {
	if !set["rounds"] {
		o.rounds = 12
	}
	if !set["requests"] {
		o.requests = 200
	}
	if len(set) == 1 {
		o.command = "make bench-peers"
	}
}

// hurry makes a run short, where nothing else was asked for.
func (o *options) hurry(set map[string]bool) {
	o.starts, o.slices, o.passes, o.pass, o.coreTime = 1, 5, 1, time.Second, 50*time.Millisecond
	o.overloadTime, o.retreatMinutes = 4*time.Second, 15
	o.surgeTime, o.surgeRounds, o.traceRounds = 20*time.Second, 1, 1
	if !set["rounds"] {
		o.rounds = 2
	}
	if !set["requests"] {
		o.requests = 200
	}
}

func main() {
	o, err := parse(os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		fail(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err = run(ctx, o)
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	if err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "bench:", err)
	os.Exit(1)
}

// run measures everything, and writes the report once all of it is there.
func run(ctx context.Context, o options) error {
	b, err := newBench(ctx, o)
	if err != nil {
		return err
	}
	defer b.close()
	begin := time.Now()
	for _, phase := range b.phases() {
		if err := phase(ctx); err != nil {
			return err
		}
	}
	switch {
	case b.traceOnly != "":
		fmt.Print(b.tracesTable())
		return nil
	case b.onlySlots != "":
		return b.tellSlots()
	case b.surgeOnly != "":
		return nil
	}
	return b.write(ctx, time.Since(begin))
}

// phases are what is measured, in its order.
func (b *bench) phases() []func(context.Context) error {
	gates := []func(context.Context) error{b.measureCore, b.measureGates, b.measureSurge, b.measureTraces}
	rounds := []func(context.Context) error{b.startAll, b.warmUp, b.measureRounds}
	switch {
	case b.surgeOnly != "":
		return []func(context.Context) error{b.measureSurge}
	case b.traceOnly != "":
		return []func(context.Context) error{b.measureTraces}
	case b.onlySlots != "":
		return b.slotsPhases()
	case b.onlyGates:
		return gates
	case b.onlyPeers:
		return []func(context.Context) error{b.findPeers, b.measurePeers}
	case b.onlyTurns:
		if slices.Contains(b.extra, latencies) {
			rounds = append(rounds, b.measureLatency)
		}
		if slices.Contains(b.extra, guest) {
			rounds = append(rounds, b.measureGuest)
		}
		return rounds
	}
	return slices.Concat([]func(context.Context) error{b.measureStarts, b.measureGuest}, rounds, []func(context.Context) error{
		b.measureLatency, b.measurePolling, b.measureEnd, b.measureWorkers, b.measureOverload, b.measureRetreat,
	}, gates)
}

// write puts the report, and its plots, where they belong.
func (b *bench) write(ctx context.Context, took time.Duration) error {
	out := b.out
	if !filepath.IsAbs(out) {
		out = filepath.Join(b.root, out)
	}
	text, err := b.report(ctx, took, out)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(out, text, 0o644); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	if !b.onlyTurns && !b.onlyPeers {
		if err := errors.Join(b.drawRetreat(out), b.drawSurge(out)); err != nil {
			return fmt.Errorf("draw the plots: %w", err)
		}
	}
	if !b.onlyGates && !b.onlyPeers {
		fmt.Print(b.targetTable())
	}
	b.say("wrote %s", b.out)
	return nil
}
