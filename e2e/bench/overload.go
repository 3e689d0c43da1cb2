package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
	"github.com/spillway-proxy/spillway/e2e/support/llmsim"
)

// The overload: four times of what a simulated server can do, with the filter and without.
const (
	serverSlots  = 8
	serverTime   = 200 * time.Millisecond // of an answer, in the mean
	overloadBy   = 4
	overloadGive = 10 * time.Second // how long a client waits for an answer
	aloneCount   = 20               // requests to the idle server, for comparison
	meanTokens   = 50               // of an answer: half of its time; the lengths are from half of it to one and a half
)

// overloadConfig keeps the server's slots, one of them for each of the two highest priorities. What finds the queue full drops
// the lowest.
const overloadConfig = `{"requestHold":"stopIteration","upstreams":[{"name":"overload",
	"concurrency":{"max":8,"reserved":{"urgent":1,"high":1}},"queue":{"max":100,"whenFull":"dropLowest"}}]}`

// overloadAuto is the same, but that nobody says how many slots there are.
var overloadAuto = strings.Replace(overloadConfig, `"max":8`, `"max":"auto"`, 1)

// priorities are the lanes, with the share of the requests that each has, in hundredths.
var priorities = []struct {
	name  string
	share int
}{{"urgent", 5}, {"high", 5}, {"normal", 40}, {"low", 50}}

// shot is one request of a scenario, and what came of it.
type shot struct {
	priority string
	latency  time.Duration
	status   int    // 0: the client gave up
	reason   string // of a refusal
	ended    time.Time
}

// overloaded is one run.
type overloaded struct {
	alone   []time.Duration
	shots   []shot
	goodput float64 // answers a second, while the load lasts, of what the server can give
}

// measureOverload runs the load against bare Envoy, and against the filter with slots set by hand and with learned ones.
func (b *bench) measureOverload(ctx context.Context) (err error) {
	for _, config := range []string{"", overloadConfig, overloadAuto} {
		sim := llmsim.New(llmsim.Options{Slots: serverSlots, NoHistory: true, TTFT: serverTime / 2, ITL: serverTime / 2 / meanTokens})
		run, err := b.overload(ctx, sim, config)
		_ = sim.Close()
		if err != nil {
			return err
		}
		b.overloads = append(b.overloads, run)
		b.say("overload, %s: goodput %.2f", cmp.Or(config, "no filter"), run.goodput)
	}
	return nil
}

// scenario is a variant with a server of its own.
func (b *bench) scenario(name, address, config string) *variant {
	return &variant{name: name, adapt: func(bootstrap *envoyproc.Bootstrap, _ *bench) {
		bootstrap.SetUpstream(address)
		if config == "" {
			bootstrap.RemoveWasm()
			return
		}
		bootstrap.SetWasm(b.spillway.path)
		bootstrap.SetPluginConfig(config)
	}}
}

func (b *bench) overload(ctx context.Context, sim *llmsim.Server, config string) (*overloaded, error) {
	address, err := sim.Start("127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	e, err := b.startEnvoy(ctx, b.scenario("overload", address, config), manyWorkers, manyClients)
	if err != nil {
		return nil, err
	}
	defer e.stop()
	client := newScenarioClient(overloadGive)
	defer client.CloseIdleConnections()
	run := &overloaded{}
	for i := range aloneCount {
		run.alone = append(run.alone, shoot(ctx, client, e.gateway, "urgent", false, 0, meanTokens/2+i*meanTokens/(aloneCount-1)).latency)
	}
	before, began := sim.Stats().Completed, time.Now()
	wait := launch(ctx, client, e.gateway, b.overloadTime)
	completed, took := sim.Stats().Completed-before, time.Since(began)-serverTime
	run.goodput = float64(completed) * serverTime.Seconds() / (serverSlots * took.Seconds())
	run.shots = wait()
	return run, ctx.Err()
}

func newScenarioClient(timeout time.Duration) *http.Client {
	return &http.Client{Timeout: timeout, Transport: &http.Transport{MaxIdleConnsPerHost: 4096}}
}

// launch sends requests at the rate of the overload for a time, however they are answered; what it returns waits for the
// answers. The requests are the same in each run.
func launch(ctx context.Context, client *http.Client, gateway string, duration time.Duration) (wait func() []shot) {
	rate := float64(overloadBy*serverSlots) / serverTime.Seconds()
	shots := make([]shot, int(rate*duration.Seconds()))
	random := rand.New(rand.NewPCG(1, 2))
	var running sync.WaitGroup
	began := time.Now()
	for i := range shots {
		pause(time.Until(began.Add(time.Duration(float64(i) / rate * float64(time.Second)))))
		priority, tokens := pick(random.IntN(100)), meanTokens/2+random.IntN(meanTokens+1)
		running.Go(func() { shots[i] = shoot(ctx, client, gateway, priority, false, i, tokens) })
	}
	return func() []shot {
		running.Wait()
		return shots
	}
}

// pick gives the priority of one of a hundred requests.
func pick(n int) string {
	for _, p := range priorities {
		if n -= p.share; n < 0 {
			return p.name
		}
	}
	return priorities[0].name
}

// shoot sends one request, of a priority, or of none that it names, and reads its answer, which comes whole or as a stream.
func shoot(ctx context.Context, client *http.Client, gateway, priority string, stream bool, i, tokens int) shot {
	body := `{"model":"llama-3","messages":[{"role":"user","content":"hello"}]}`
	if stream {
		body = `{"stream":true,` + body[1:]
	}
	s := shot{priority: priority}
	began := time.Now()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, gateway+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		return s
	}
	request.Header.Set("content-type", "application/json")
	if priority != "" {
		request.Header.Set("x-priority", priority)
	}
	request.Header.Set("x-user-id", "user-"+strconv.Itoa(i%10))
	request.Header.Set("x-sim-tokens", strconv.Itoa(tokens))
	response, err := client.Do(request)
	if err != nil {
		return s
	}
	defer func() { _ = response.Body.Close() }()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return s
	}
	s.status, s.reason = response.StatusCode, response.Header.Get("x-spillway-reason")
	s.ended = time.Now()
	s.latency = s.ended.Sub(began)
	return s
}

// overloadTable has both runs side by side.
func (b *bench) overloadTable() string {
	t := newTable("", "requests", "bare Envoy: answered", "p50, ms", "p99, ms", "Spillway: answered", "p50, ms", "p99, ms", "refused",
		"with learned slots: answered", "p50, ms", "p99, ms", "refused")
	for _, p := range priorities {
		cells := []string{strings.ToUpper(p.name)}
		for i, run := range b.overloads {
			shots := slices.DeleteFunc(slices.Clone(run.shots), func(s shot) bool { return s.priority != p.name })
			if i == 0 {
				cells = append(cells, strconv.Itoa(len(shots)))
			}
			cells = append(cells, answered(shots)...)
			if i > 0 {
				cells = append(cells, refusals(shots))
			}
		}
		t.row(cells...)
	}
	return t.String()
}

// answered is how many requests were answered, and how fast: the share, and two quantiles in milliseconds.
func answered(shots []shot) []string {
	var latencies []time.Duration
	for _, s := range shots {
		if s.status == http.StatusOK {
			latencies = append(latencies, s.latency)
		}
	}
	if len(latencies) == 0 {
		return []string{"0 %", "", ""}
	}
	return []string{
		fmt.Sprintf("%.0f %%", 100*float64(len(latencies))/float64(len(shots))),
		milliseconds(quantile(latencies, 0.5)), milliseconds(quantile(latencies, 0.99)),
	}
}

func milliseconds(d time.Duration) string { return fmt.Sprintf("%.0f", d.Seconds()*1e3) }

// refusals counts what was not answered, by reason.
func refusals(shots []shot) string {
	counts := map[string]int{}
	for _, s := range shots {
		switch {
		case s.status == 0:
			counts["given up"]++
		case s.status != http.StatusOK:
			counts[strings.TrimPrefix(s.reason, "queue/")]++
		}
	}
	var parts []string
	for _, reason := range []string{"dropped", "timeout", "full", "given up"} {
		if counts[reason] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[reason], reason))
		}
	}
	return strings.Join(parts, ", ")
}

// overloadText says what the table can't: how it is with nobody else there, and how much of the server was used.
func (b *bench) overloadText() string {
	bare, filtered, learned := b.overloads[0], b.overloads[1], b.overloads[2]
	return fmt.Sprintf("To the idle server a request takes %s ms (p50) without the filter and %s ms with it. Of what the server can "+
		"do, %.0f %% were done without the filter, %.0f %% with it, and %.0f %% with learned slots.",
		milliseconds(quantile(bare.alone, 0.5)), milliseconds(quantile(filtered.alone, 0.5)), 100*bare.goodput, 100*filtered.goodput, 100*learned.goodput)
}
