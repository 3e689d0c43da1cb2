package main

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
)

const (
	connections = 8  // of the closed loop
	manyClients = 64 // so that four workers have connections each, and an open loop rarely waits for one
	manyWorkers = 4
	// So many rounds are measured with one process of each variant.
	processRounds = 10
	settle        = 10 * time.Millisecond // in which Envoy ends requests that are over for the client
	latencyLoad   = 0.5                   // of what the slowest variant served in the closed loop

	// The work of a warm-up, whatever a round has.
	warmRequests = 2000
	warmStreams  = 250
)

// bench is one run.
type bench struct {
	options
	root, dir      string
	envoyPath      string
	envoyVersion   string
	spillway, noop module
	stock          module // stock Go's build
	upstream       *upstream
	unary, stream  workload
	volumes        []volume
	core           []benchmark
	stockOnce      *variant  // one limit, with stock Go's build
	guest          guestTime // of this build, and of stock Go's
	running        map[*variant]*envoy
	results        map[*variant]*result
	rate           float64 // requests a second, of the latency measurement
	total          int     // requests that a process had served when its memory was looked at for the last time
	polls          polled
	began          time.Time
	overloads      []*overloaded // without the filter, with slots set by hand, and with learned ones
	engines        []*engined    // as the arms are
	halved         []*halvesRun
	yields         []*yielding // without retreat, and with it
	surges         [][]*surged // by arm, and round
	traced         []tracedRuns

	peers                 []*peer
	peerUnary, peerStream workload
	peerResults           map[*peer]*peerResult
	gateways              []*gateway
}

// result is what was measured of one variant.
type result struct {
	ready      []float64            // seconds, by start
	memory     []float64            // bytes after a start
	loaded     float64              // bytes after the warm-up
	end        float64              // bytes after everything
	manyStart  []float64            // bytes of an Envoy with manyWorkers, after a start
	manyLoaded float64              // and after a warm-up for each worker
	requests   int                  // that the variant's process served
	cpu        map[string][]float64 // microseconds a request, by workload and round
	rate       map[string][]float64 // requests a second in the closed loop, by workload and round
	passes     []pass
}

// pass is one of the latency measurement. Times are in milliseconds.
type pass struct {
	p50, p99 float64 // from when a request was due to its answer
	late     float64 // p99 of what the load generator itself was late
	answer   float64 // p99 from when a request was sent to its answer
	starved  float64 // the share of the time that Envoy's threads waited for a core
}

func newBench(ctx context.Context, o options) (*bench, error) {
	b := &bench{
		options: o, running: map[*variant]*envoy{}, results: map[*variant]*result{}, peerResults: map[*peer]*peerResult{}, began: time.Now(),
	}
	for _, v := range slices.Concat(o.variants, o.refusers, o.gates) {
		b.results[v] = &result{cpu: map[string][]float64{}, rate: map[string][]float64{}}
	}
	if _, err := cpuTime(os.Getpid()); err != nil {
		return nil, err
	}
	var err error
	if b.root, err = envoyproc.Root(); err != nil {
		return nil, err
	}
	var wasm string
	if b.envoyPath, wasm, err = envoyproc.Locate(); err != nil {
		return nil, err
	}
	if b.envoyVersion, err = envoyproc.Version(b.envoyPath); err != nil {
		return nil, err
	}
	if b.spillway, err = openModule(wasm); err != nil {
		return nil, err
	}
	if !o.onlyGates && !o.onlyPeers && o.onlySlots == "" {
		if b.noop, err = openModule(filepath.Join(b.root, "build/bench-noop.wasm")); err != nil {
			return nil, fmt.Errorf("find the no-op filter, which make bench-noop builds: %w", err)
		}
		if b.stock, err = openModule(filepath.Join(b.root, "build/spillway.wasm")); err != nil {
			return nil, fmt.Errorf("find stock Go's build, which make wasm makes: %w", err)
		}
	}
	b.unary, b.stream = mainWorkloads()
	b.volumes = volumes()
	b.peerUnary, b.peerStream = peerWorkloads()
	served := []workload{b.unary, b.stream, b.peerUnary, b.peerStream, named(refusal, b.unary), named(flood, b.unary)}
	for _, v := range b.volumes {
		served = append(served, v.workload)
	}
	if b.upstream, err = startUpstream(manyClients, served...); err != nil {
		return nil, err
	}
	if b.dir, err = os.MkdirTemp("", "spillway-bench-"); err != nil {
		b.upstream.stop()
		return nil, err
	}
	return b, nil
}

// measureCore runs the benchmarks of the pure core.
func (b *bench) measureCore(ctx context.Context) (err error) {
	packages := []string{corePackage(gatesPackage)}
	if !b.onlyGates {
		packages = append(packages, bodyPackages...)
	}
	b.say("running the core's own benchmarks")
	b.core, err = runCore(ctx, b.root, b.coreTime, packages)
	return err
}

func (b *bench) close() {
	b.stopAll()
	b.upstream.stop()
	_ = os.RemoveAll(b.dir)
}

func (b *bench) stopAll() {
	for v, e := range b.running {
		e.stop()
		delete(b.running, v)
	}
}

func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "[%5.1fs] %s\n", time.Since(b.began).Seconds(), fmt.Sprintf(format, args...))
}

// shuffled is variants in a new order, so that none always comes after the same other one.
func shuffled(variants []*variant) []*variant {
	order := slices.Clone(variants)
	rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	return order
}

// measureStarts starts every variant a few times, one at a time, and stock Go's build beside them.
func (b *bench) measureStarts(ctx context.Context) error {
	b.stockOnce = b.find(limitedOnce).with(b.stock.path, byStock, ", stock Go's build")
	b.results[b.stockOnce] = &result{}
	for i := range b.starts {
		for _, v := range shuffled(append(slices.Clone(b.variants), b.stockOnce)) {
			r := b.results[v]
			ready, memory, err := b.start(ctx, v, 1)
			if err != nil {
				return err
			}
			r.ready, r.memory = append(r.ready, ready.Seconds()), append(r.memory, memory)
			if _, memory, err = b.start(ctx, v, manyWorkers); err != nil {
				return err
			}
			r.manyStart = append(r.manyStart, memory)
			b.say("start %d of %d: %-16s ready in %.2f s, %.0f MB, with %d workers %.0f MB",
				i+1, b.starts, v.name, ready.Seconds(), last(r.memory)/1e6, manyWorkers, memory/1e6)
		}
	}
	return nil
}

// start starts a variant, and ends it: how long it took, and how much memory it had.
func (b *bench) start(ctx context.Context, v *variant, workers int) (ready time.Duration, memory float64, err error) {
	e, err := b.startEnvoy(ctx, v, workers, 1)
	if err != nil {
		return 0, 0, err
	}
	defer e.stop()
	memory, err = e.rss()
	return e.ready, memory, err
}

func last(values []float64) float64 { return values[len(values)-1] }

// startAll starts what the rounds measure. Each is idle until it is measured.
func (b *bench) startAll(ctx context.Context) (err error) {
	for _, v := range b.measured() {
		if b.running[v], err = b.startEnvoy(ctx, v, 1, manyClients); err != nil {
			delete(b.running, v)
			return err
		}
		b.results[v].requests = 0
	}
	b.say("started %d Envoys", len(b.running))
	return nil
}

// measured are the variants that have a part in the rounds.
func (b *bench) measured() (all []*variant) {
	for _, p := range b.turns {
		for _, v := range p.variants {
			if !slices.Contains(all, v) {
				all = append(all, v)
			}
		}
	}
	return all
}

// warmUp gives each variant work that isn't measured: V8 compiles a function anew once it was called often.
func (b *bench) warmUp(ctx context.Context) (err error) {
	for _, v := range b.measured() {
		e, r := b.running[v], b.results[v]
		if err = b.exercise(ctx, e, 1, connections); err != nil {
			return err
		}
		if r.loaded, err = e.rss(); err != nil {
			return err
		}
	}
	// The volumes come when the memory after load was looked at: it is that of the main workloads.
	for _, p := range b.turns {
		if p.every == 1 {
			continue
		}
		for _, v := range p.variants {
			if _, _, err := b.load(ctx, b.running[v], p.workload, p.requests, p.connections); err != nil {
				return err
			}
		}
	}
	b.say("warmed up")
	return nil
}

// exercise is the work of a warm-up, for each worker: of both main workloads, or of refusals, once the buckets are empty.
func (b *bench) exercise(ctx context.Context, e *envoy, workers, connections int) error {
	if e.variant.refuses {
		w := b.unary
		w.status = anyStatus
		if _, err := e.client.closedLoop(ctx, w, users, connections); err != nil {
			return e.explain(err)
		}
		_, _, err := b.load(ctx, e, b.unary, warmRequests*workers, connections)
		return err
	}
	if _, _, err := b.load(ctx, e, b.unary, warmRequests*workers, connections); err != nil {
		return err
	}
	_, _, err := b.load(ctx, e, b.stream, warmStreams*workers, connections)
	return err
}

// load runs n requests in a closed loop, checks that the variant did its work, and returns the CPU time that it took of
// Envoy, and the time that it took.
func (b *bench) load(ctx context.Context, e *envoy, w workload, n, connections int) (cpu, wall time.Duration, err error) {
	if e.variant.refuses {
		w.status, w.tokens = http.StatusTooManyRequests, 0
	}
	b.results[e.variant].requests += n
	err = e.watch(ctx, w.times(n), func() error {
		pid := e.process.PID()
		before, err := cpuTime(pid)
		if err != nil {
			return err
		}
		if wall, err = e.client.closedLoop(ctx, w, n, connections); err != nil {
			return err
		}
		pause(settle)
		after, err := cpuTime(pid)
		cpu = after - before
		return err
	})
	return cpu, wall, err
}

// measureRounds is the main measurement. A variant is compared with the bare one of the same round and workload only.
func (b *bench) measureRounds(ctx context.Context) error {
	return b.measureTurns(ctx, b.turns, func() error {
		b.stopAll()
		if err := b.startAll(ctx); err != nil {
			return err
		}
		return b.warmUp(ctx)
	})
}

// measureTurns measures round by round. Of all processes there are new ones now and then, by renew: some run faster than others of the
// same variant for as long as they live (Lua's most of all), and one of each would make that look like a difference of variants.
func (b *bench) measureTurns(ctx context.Context, turns []turn, renew func() error) error {
	for i := range b.rounds {
		if i > 0 && i%processRounds == 0 {
			if err := renew(); err != nil {
				return err
			}
		}
		line := ""
		for _, p := range turns {
			if i%p.every > 0 {
				continue
			}
			if err := b.measureTurn(ctx, p); err != nil {
				return err
			}
			line += "; " + b.lastOf(p)
		}
		b.say("round %d of %d%s", i+1, b.rounds, line)
	}
	return nil
}

func (b *bench) measureTurn(ctx context.Context, p turn) error {
	for _, v := range shuffled(p.variants) {
		cpu, wall, err := b.load(ctx, b.running[v], p.workload, p.requests, p.connections)
		if err != nil {
			return err
		}
		r := b.results[v]
		r.cpu[p.name] = append(r.cpu[p.name], float64(cpu.Nanoseconds())/1e3/float64(p.requests))
		r.rate[p.name] = append(r.rate[p.name], float64(p.requests)/wall.Seconds())
	}
	return nil
}

// lastOf says what the round has found: the CPU of the first variant, and the others' in its units.
func (b *bench) lastOf(p turn) string {
	cpu := func(v *variant) float64 { return last(b.results[v].cpu[p.name]) }
	base := cpu(p.variants[0])
	line := fmt.Sprintf("%s: %s %.0f µs", p.name, p.variants[0].name, base)
	for _, v := range p.variants[1:] {
		line += fmt.Sprintf(" %s %.2f", v.name, cpu(v)/base)
	}
	return line
}

func (b *bench) bare() *variant {
	return b.variants[slices.IndexFunc(b.variants, func(v *variant) bool { return v.name == bare })]
}

// measureLatency sends every variant the same number of requests a second: so many that none of them comes near to what it
// can do, because then the figures would be those of a queue.
func (b *bench) measureLatency(ctx context.Context) error {
	b.rate = math.Inf(1)
	for _, v := range b.variants {
		b.rate = min(b.rate, latencyLoad*median(b.results[v].rate[b.unary.name]))
	}
	for i := range b.passes {
		for _, v := range shuffled(b.variants) {
			if err := b.measurePass(ctx, v); err != nil {
				return err
			}
		}
		b.say("latency at %.0f requests/s: pass %d of %d", b.rate, i+1, b.passes)
	}
	return nil
}

func (b *bench) measurePass(ctx context.Context, v *variant) error {
	e, r := b.running[v], b.results[v]
	n := int(b.rate * b.pass.Seconds())
	return e.watch(ctx, b.unary.times(n), func() error {
		before, err := waitedForCore(e.process.PID())
		if err != nil {
			return err
		}
		t, err := e.client.openLoop(ctx, b.unary, b.rate, n, manyClients)
		if err != nil {
			return err
		}
		after, err := waitedForCore(e.process.PID())
		r.passes = append(r.passes, pass{
			p50: millis(quantile(t.done, 0.5)), p99: millis(quantile(t.done, 0.99)), late: millis(quantile(t.late, 0.99)),
			answer: millis(quantile(since(t.done, t.sent), 0.99)), starved: (after - before).Seconds() / b.pass.Seconds(),
		})
		r.requests += n
		return err
	})
}

// since is what later times have more than earlier ones.
func since(later, earlier []time.Duration) []time.Duration {
	all := make([]time.Duration, len(later))
	for i := range all {
		all[i] = later[i] - earlier[i]
	}
	return all
}

func millis(d time.Duration) float64 { return d.Seconds() * 1e3 }

// measureEnd looks at the memory once more, and ends the measured processes.
func (b *bench) measureEnd(context.Context) (err error) {
	for v, e := range b.running {
		if b.results[v].end, err = e.rss(); err != nil {
			return err
		}
	}
	b.total = b.results[b.bare()].requests
	b.stopAll()
	return nil
}

// measureWorkers finds what a further worker adds to memory: Envoys with more workers, each with the work that the one
// worker had.
func (b *bench) measureWorkers(ctx context.Context) error {
	for _, v := range b.variants {
		if err := b.measureManyWorkers(ctx, v); err != nil {
			return err
		}
		r := b.results[v]
		b.say("%d workers: %-15s %.0f MB, after load %.0f MB", manyWorkers, v.name, median(r.manyStart)/1e6, r.manyLoaded/1e6)
	}
	return nil
}

func (b *bench) measureManyWorkers(ctx context.Context, v *variant) error {
	e, err := b.startEnvoy(ctx, v, manyWorkers, manyClients)
	if err != nil {
		return err
	}
	b.running[v] = e
	defer b.stopAll()
	if err := b.exercise(ctx, e, manyWorkers, manyClients); err != nil {
		return err
	}
	if err := e.checkWorkers(ctx, manyWorkers); err != nil {
		return err
	}
	b.results[v].manyLoaded, err = e.rss()
	return err
}
