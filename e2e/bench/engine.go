package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/freeport"
	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
)

// What learned slots are worth in front of an engine that batches, and whose answers come whole: with its own numbers and without. Envoy asks the
// real gpuexporter, which asks the engine.
const (
	engineLoad     = 45               // requests a second, one and a half of what the engine can do
	engineTime     = 45 * time.Second // of a run
	engineLearning = 20 * time.Second // of that, in which nothing is judged
	engineTarget   = 8 * time.Second  // in which an answer has to come
	engineSlots    = 128              // those that are best, found by trying
)

// engineArm is one way to keep to what an engine can do.
type engineArm struct{ name, config string }

func engineArms() []engineArm {
	with := func(parts string) string {
		return `{"requestHold":"stopIteration","pressureSource":{"interval":"1s","timeout":"900ms"},"upstreams":[{"name":"engine",` + parts +
			`,"queue":{"max":500,"maxWait":{"urgent":"1500ms","high":"1500ms","normal":"1500ms","low":"1500ms"}}}]}`
	}
	return []engineArm{
		{"no filter", ""},
		{"by hand", with(fmt.Sprintf(`"concurrency":{"max":%d}`, engineSlots))},
		{"auto", with(`"concurrency":{"max":"auto"}`)},
		{"auto, with the engine's numbers", with(`"concurrency":{"max":"auto"},"pressure":{"mode":"shadow"}`)},
	}
}

// engined is what became of one arm, of the requests that were due when it was judged.
type engined struct {
	asked, inTime, late, refused, lost int
	tokens                             int // of answers in time
	p50, p95                           float64
	preempted                          int
	waiting                            float64 // requests in the engine's queue, the mean of the whole run
	slots                              uint64
}

// measureEngine runs all arms at the same time, each with an engine, an exporter, an Envoy and clients of its own.
func (b *bench) measureEngine(ctx context.Context) error {
	b.say("an engine that batches: %v", engineTime)
	var runs []*engineRun
	defer func() {
		for _, r := range runs {
			r.stop()
		}
	}()
	for _, arm := range engineArms() {
		r, err := b.startEngineRun(ctx, arm)
		if err != nil {
			return err
		}
		runs = append(runs, r)
	}
	b.engines = make([]*engined, len(runs))
	errs := make([]error, len(runs))
	var running sync.WaitGroup
	for i, r := range runs {
		running.Go(func() { b.engines[i], errs[i] = r.run(ctx) })
	}
	running.Wait()
	return cmp.Or(errors.Join(errs...), ctx.Err())
}

// engineTable has all arms.
func (b *bench) engineTable() string {
	t := newTable("", "in time, %", "tokens/s of these", "refused, %", "too late or given up, %", "p50, s", "p95, s", "preempted", "wait in the engine, mean", "slots at the end")
	for i, arm := range engineArms() {
		r := b.engines[i]
		share := func(n int) string { return fmt.Sprintf("%.1f", 100*part(n, r.asked)) }
		t.row(arm.name, share(r.inTime), fmt.Sprintf("%.0f", float64(r.tokens)/(engineTime-engineLearning).Seconds()), share(r.refused), share(r.late+r.lost),
			fmt.Sprintf("%.1f", r.p50), fmt.Sprintf("%.1f", r.p95), strconv.Itoa(r.preempted), fmt.Sprintf("%.1f", r.waiting), strconv.FormatUint(r.slots, 10))
	}
	return t.String()
}

// slotsPhases are those of -slots.
func (b *bench) slotsPhases() (phases []func(context.Context) error) {
	for which := range strings.SplitSeq(b.onlySlots, ",") {
		switch which {
		case "overload":
			phases = append(phases, b.measureOverload)
		case "engine":
			phases = append(phases, b.measureEngine)
		case "halves":
			phases = append(phases, b.measureHalves)
		default:
			return []func(context.Context) error{func(context.Context) error { return fmt.Errorf("-slots: %q: want overload, engine or halves", which) }}
		}
	}
	return phases
}

// tellSlots prints what came of them.
func (b *bench) tellSlots() error {
	if b.overloads != nil {
		fmt.Println(b.overloadTable() + "\n" + b.overloadText())
	}
	if b.engines != nil {
		fmt.Println(b.engineTable())
	}
	if b.halved != nil {
		fmt.Print(b.halvesTable())
	}
	return nil
}

// engineRun is an arm at work.
type engineRun struct {
	arm      engineArm
	sim      *engine
	exporter *exporter
	envoy    *envoy
}

func (b *bench) startEngineRun(ctx context.Context, arm engineArm) (r *engineRun, err error) {
	r = &engineRun{arm: arm}
	defer func() {
		if err != nil {
			r.stop()
		}
	}()
	var address string
	if r.sim, address, err = startEngine(); err != nil {
		return nil, err
	}
	if r.exporter, err = b.startExporter(ctx, address); err != nil {
		return nil, err
	}
	v := b.scenario("engine", address, arm.config)
	adapt := v.adapt
	v.adapt = func(bootstrap *envoyproc.Bootstrap, b *bench) {
		adapt(bootstrap, b)
		bootstrap.SetExporter(r.exporter.address)
	}
	r.envoy, err = b.startEnvoy(ctx, v, manyWorkers, manyClients)
	return r, err
}

func (r *engineRun) stop() {
	if r.envoy != nil {
		r.envoy.stop()
	}
	if r.exporter != nil {
		r.exporter.process.Stop(stopGrace)
	}
	if r.sim != nil {
		r.sim.close()
	}
}

func (r *engineRun) run(ctx context.Context) (*engined, error) {
	began := time.Now()
	result := judgeEngine(askEngine(ctx, r.envoy.gateway))
	took := time.Since(began)
	r.sim.mu.Lock()
	result.preempted, result.waiting = r.sim.preempted, r.sim.waited.Seconds()/took.Seconds()
	r.sim.mu.Unlock()
	c, err := r.envoy.counters(ctx)
	if err != nil {
		return nil, r.envoy.explain(err)
	}
	result.slots = c.sum("wasmcustom.spillway_slots")
	if strings.Contains(r.arm.config, `"pressure":{`) && c.sum("wasmcustom.spillway_pressure_instances;kind=active_decode_blocks") != 1 {
		return nil, fmt.Errorf("%s: Envoy does not know the engine's numbers", r.arm.name)
	}
	return result, r.envoy.checkWorkers(ctx, manyWorkers)
}

// exporter is a gpuexporter that asks an engine.
type exporter struct {
	process *envoyproc.Process
	address string
}

func (b *bench) startExporter(ctx context.Context, engine string) (*exporter, error) {
	binary, err := envoyproc.LocateExporter()
	if err != nil {
		return nil, err
	}
	port, err := freeport.Take()
	if err != nil {
		return nil, err
	}
	x := &exporter{address: fmt.Sprintf("127.0.0.1:%d", port)}
	log, err := os.CreateTemp(b.dir, "gpuexporter-*.log")
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }() // it has its own
	command := exec.Command(binary, "--listen="+x.address, "--node=bench", "--nvml=off", "--interval=1s", "--engine=http://"+engine)
	command.Stderr = log
	if x.process, err = envoyproc.Start(command); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := x.process.AwaitOK(ctx, "http://"+x.address+"/readyz"); err != nil {
		x.process.Stop(stopGrace)
		return nil, fmt.Errorf("await gpuexporter: %w; see %s", err, filepath.Base(log.Name()))
	}
	return x, nil
}

// engineShot is one request, and what came of it.
type engineShot struct {
	due            time.Duration
	prompt, output int
	status         int // 0: it gave up
	took           time.Duration
}

// askEngine sends requests at random times, the same in each run, however those before are answered.
func askEngine(ctx context.Context, gateway string) []engineShot {
	client := newScenarioClient(engineTarget + 2*time.Second)
	defer client.CloseIdleConnections()
	random := rand.New(rand.NewPCG(17, 4))
	var shots []*engineShot
	var running sync.WaitGroup
	began := time.Now()
	for at := 0.0; ; {
		at += random.ExpFloat64() / engineLoad
		s := &engineShot{due: time.Duration(at * float64(time.Second)), prompt: 100 + random.IntN(400), output: 20 + random.IntN(200)}
		if s.due >= engineTime || ctx.Err() != nil {
			break
		}
		shots = append(shots, s)
		pause(time.Until(began.Add(s.due)))
		running.Go(func() { s.ask(ctx, client, gateway, len(shots)) })
	}
	running.Wait()
	all := make([]engineShot, len(shots))
	for i, s := range shots {
		all[i] = *s
	}
	return all
}

func (s *engineShot) ask(ctx context.Context, client *http.Client, gateway string, i int) {
	body := `{"model":"engine","messages":[{"role":"user","content":"` + strings.Repeat("word ", s.prompt) + `"}]}`
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, gateway+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		return
	}
	request.Header.Set("content-type", "application/json")
	request.Header.Set("x-user-id", "user-"+strconv.Itoa(i%20))
	request.Header.Set(promptHeader, strconv.Itoa(s.prompt))
	request.Header.Set(outputHeader, strconv.Itoa(s.output))
	began := time.Now()
	response, err := client.Do(request)
	if err != nil {
		return
	}
	defer func() { _ = response.Body.Close() }()
	if _, err := io.Copy(io.Discard, response.Body); err == nil {
		s.status, s.took = response.StatusCode, time.Since(began)
	}
}

func judgeEngine(shots []engineShot) *engined {
	r := &engined{}
	var times []time.Duration
	for _, s := range shots {
		if s.due < engineLearning {
			continue
		}
		r.asked++
		switch {
		case s.status == 0:
			r.lost++
		case s.status != http.StatusOK:
			r.refused++
		case s.took <= engineTarget:
			r.inTime++
			r.tokens += s.output
		default:
			r.late++
		}
		if s.status == http.StatusOK {
			times = append(times, s.took)
		}
	}
	if slices.Sort(times); len(times) > 0 {
		r.p50, r.p95 = quantile(times, 0.5).Seconds(), quantile(times, 0.95).Seconds()
	}
	return r
}
