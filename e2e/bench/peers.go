package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
)

// What of the peers is measured: each has the same number of requests, so the slowest says how many there may be.
const (
	peerStreams     = 24                    // of a round
	peerConnections = 4                     // of its streams
	peerPace        = 5 * time.Millisecond  // between two events, as a model takes for a token
	peerPass        = 3 * time.Second       // of the latency, at each load
	peerTimeout     = 3 * time.Minute       // for a start
	peerPause       = 50 * time.Millisecond // between two looks whether it answers
)

// peer is a gateway that is used in front of LLM servers, with all processes that it needs.
type peer struct {
	name, label string
	version     string
	setup       string // what exactly it is, for the report
	start       func(ctx context.Context, b *bench, g *gateway) error
	// counted is how many completion tokens it has counted so far; nil where it tells nobody.
	counted func(ctx context.Context, g *gateway) (int, error)
	// prove fails where what it is to limit isn't limited; nil where there is nothing of the sort.
	prove func(ctx context.Context, b *bench, g *gateway) error
}

// gateway is a peer at work.
type gateway struct {
	peer      *peer
	dir       string
	url       string
	admin     string // of its external processor, URL
	processes []*envoyproc.Process
	envoy     *envoy // nil without one
	client    *client
	ready     time.Duration
	effort    time.Duration // CPU time until then
}

// peerResult is what was measured of one.
type peerResult struct {
	ready     []float64            // seconds, by start
	effort    []float64            // seconds of CPU until then, by start
	rest      []float64            // bytes, by start
	loaded    float64              // bytes, after all of the load
	cpu       map[string][]float64 // microseconds a request, by workload and round
	rate      []float64            // JSON requests a second in the closed loop, by round
	same, own []time.Duration      // latencies at half of what the slowest can do, and of what it can itself
	ownRate   float64              // requests a second, for the latter
}

// peerWorkloads are those of the main tables, but that a gateway may write the answer in its own words, and that events come at
// a model's pace: LiteLLM sends an event when it has the next one.
func peerWorkloads() (unary, stream workload) {
	unary, stream = mainWorkloads()
	unary, stream = named("peers, JSON", unary), named("peers, SSE", stream)
	unary.read, stream.read = readAnswer(unary), readAnswer(stream)
	stream.pace = peerPace
	return unary, stream
}

// readAnswer returns what reads a gateway's answer to the end: it must have the usage, and a stream the end mark.
func readAnswer(w workload) func(io.Reader) error {
	usage := regexp.MustCompile(fmt.Sprintf(`"completion_tokens": ?%d\b`, w.tokens))
	return func(body io.Reader) error {
		text, err := io.ReadAll(body)
		switch {
		case err != nil:
			return err
		case !usage.Match(text):
			return fmt.Errorf("the answer lacks the usage of %d tokens: %s", w.tokens, text)
		case w.stream && !strings.HasSuffix(strings.TrimSpace(string(text)), "data: [DONE]"):
			return errors.New("the stream lacks its end")
		}
		return nil
	}
}

// measurePeers is all of it: starts, rounds, latency.
func (b *bench) measurePeers(ctx context.Context) error {
	for _, p := range b.peers {
		b.peerResults[p] = &peerResult{cpu: map[string][]float64{}}
	}
	defer b.stopGateways()
	for _, step := range []func(context.Context) error{b.startPeers, b.warmPeers, b.peerRounds, b.peerLatency} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	for _, g := range b.gateways {
		memory, err := g.memory()
		if err != nil {
			return err
		}
		b.peerResults[g.peer].loaded = memory
	}
	return nil
}

func (b *bench) startPeers(ctx context.Context) error {
	for i := range b.starts {
		for _, j := range rand.Perm(len(b.peers)) {
			p := b.peers[j]
			g, err := b.startPeer(ctx, p)
			if err != nil {
				return err
			}
			b.gateways = append(b.gateways, g)
			memory, err := g.memory()
			if err != nil {
				return err
			}
			r := b.peerResults[p]
			r.ready, r.effort = append(r.ready, g.ready.Seconds()), append(r.effort, g.effort.Seconds())
			r.rest = append(r.rest, memory)
			b.say("start %d of %d: %-13s answers after %.2f s, %.2f s of CPU, %.0f MB", i+1, b.starts, p.name, g.ready.Seconds(),
				g.effort.Seconds(), memory/1e6)
		}
		if i < b.starts-1 {
			b.stopGateways()
		}
	}
	return nil
}

// startPeer starts one, and returns when a chat completion was answered through it.
func (b *bench) startPeer(ctx context.Context, p *peer) (*gateway, error) {
	dir, err := os.MkdirTemp(b.dir, p.name+"-")
	if err != nil {
		return nil, err
	}
	g := &gateway{peer: p, dir: dir}
	ctx, cancel := context.WithTimeout(ctx, peerTimeout)
	defer cancel()
	begin := time.Now()
	if err = p.start(ctx, b, g); err == nil {
		g.client = newClient(b.upstream, g.url, manyClients)
		err = g.awaitAnswer(ctx, b.peerUnary)
		g.ready = time.Since(begin)
	}
	if err == nil {
		g.effort, err = g.cpu()
	}
	if err == nil && p.prove != nil {
		err = p.prove(ctx, b, g)
	}
	if err != nil {
		err = g.explain(err)
		g.stop()
		return nil, err
	}
	return g, nil
}

func (g *gateway) awaitAnswer(ctx context.Context, w workload) error {
	for {
		err := g.client.do(ctx, w, 0)
		if err == nil {
			return nil
		}
		for _, p := range g.processes {
			select {
			case <-p.Done():
				return fmt.Errorf("a process ended before it answered (%v)", p.Err())
			default:
			}
		}
		if ctx.Err() != nil {
			return fmt.Errorf("no answer within %s: %w", peerTimeout, err)
		}
		pause(peerPause)
	}
}

// run starts a process of the gateway; what it writes is in a file of its folder.
func (g *gateway) run(name string, environment []string, program string, args ...string) error {
	log, err := os.Create(filepath.Join(g.dir, name+".log"))
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the process has its own
	process, err := envoyproc.Start(command(g.dir, log, environment, program, args...))
	if err == nil {
		g.processes = append(g.processes, process)
	}
	return err
}

// all are the ids of all processes of the gateway, and of those that these have started.
func (g *gateway) all() ([]int, error) {
	processes := g.processes
	if g.envoy != nil {
		processes = append(slices.Clone(processes), g.envoy.process)
	}
	var ids []int
	for _, p := range processes {
		group, err := groupMembers(p.PID())
		if err != nil {
			return nil, err
		}
		ids = append(ids, group...)
	}
	return ids, nil
}

// cpu is the CPU time of all processes together, user and system.
func (g *gateway) cpu() (total time.Duration, err error) {
	ids, err := g.all()
	for _, id := range ids {
		used, failure := cpuTime(id)
		total, err = total+used, errors.Join(err, failure)
	}
	return total, err
}

// memory is what all processes together have resident, in bytes.
func (g *gateway) memory() (total float64, err error) {
	ids, err := g.all()
	for _, id := range ids {
		resident, failure := residentMemory(id)
		total, err = total+resident, errors.Join(err, failure)
	}
	return total, err
}

// burden runs n requests, and checks that as many tokens were counted as were answered.
func (g *gateway) burden(ctx context.Context, w workload, n int, load func() error) error {
	counted := g.peer.counted
	if counted == nil {
		return g.explain(load())
	}
	before, err := counted(ctx, g)
	if err == nil {
		err = load()
	}
	for deadline := time.Now().Add(statsTimeout); err == nil; pause(envoyproc.PollInterval) {
		var after int
		if after, err = counted(ctx, g); err != nil || after-before == n*w.tokens {
			break
		}
		if time.Now().After(deadline) {
			err = fmt.Errorf("the answers had %d tokens, but it counted %d", n*w.tokens, after-before)
		}
	}
	return g.explain(err)
}

func (b *bench) warmPeers(ctx context.Context) error {
	for _, g := range b.gateways {
		if err := b.peerRound(ctx, g, b.peerUnary, b.requests, nil); err != nil {
			return err
		}
		if err := b.peerRound(ctx, g, b.peerStream, peerStreams, nil); err != nil {
			return err
		}
	}
	b.say("warmed up")
	return nil
}

// peerRounds measures one after the other, in an order that is new in each round.
func (b *bench) peerRounds(ctx context.Context) error {
	for i := range b.rounds {
		for _, j := range rand.Perm(len(b.gateways)) {
			g := b.gateways[j]
			if err := b.peerRound(ctx, g, b.peerUnary, b.requests, b.peerResults[g.peer]); err != nil {
				return err
			}
			if err := b.peerRound(ctx, g, b.peerStream, peerStreams, b.peerResults[g.peer]); err != nil {
				return err
			}
		}
		line := ""
		for _, p := range b.peers {
			cpu := b.peerResults[p].cpu
			line += fmt.Sprintf("  %s %.0f, %.0f", p.name, cpu[b.peerUnary.name][i], cpu[b.peerStream.name][i])
		}
		b.say("round %d of %d, µs of JSON, SSE:%s", i+1, b.rounds, line)
	}
	return nil
}

// peerRound is one workload of one gateway; r is nil where it isn't measured.
func (b *bench) peerRound(ctx context.Context, g *gateway, w workload, n int, r *peerResult) error {
	width := connections
	if w.stream {
		width = peerConnections
	}
	return g.burden(ctx, w, n, func() error {
		before, err := g.cpu()
		if err != nil {
			return err
		}
		wall, err := g.client.closedLoop(ctx, w, n, width)
		if err != nil {
			return err
		}
		pause(settle)
		after, err := g.cpu()
		if err != nil || r == nil {
			return err
		}
		r.cpu[w.name] = append(r.cpu[w.name], float64((after-before).Nanoseconds())/1e3/float64(n))
		if !w.stream {
			r.rate = append(r.rate, float64(n)/wall.Seconds())
		}
		return nil
	})
}

// peerLatency sends JSON requests at half of what the slowest can do, and then at half of what each can do itself.
func (b *bench) peerLatency(ctx context.Context) error {
	b.rate = math.Inf(1)
	for _, r := range b.peerResults {
		r.ownRate = latencyLoad * median(r.rate)
		b.rate = min(b.rate, r.ownRate)
	}
	for i := range b.passes {
		for _, j := range rand.Perm(len(b.gateways)) {
			g := b.gateways[j]
			r := b.peerResults[g.peer]
			if err := b.peerPass(ctx, g, b.rate, &r.same); err != nil {
				return err
			}
			if err := b.peerPass(ctx, g, r.ownRate, &r.own); err != nil {
				return err
			}
		}
		b.say("latency: pass %d of %d", i+1, b.passes)
	}
	return nil
}

func (b *bench) peerPass(ctx context.Context, g *gateway, rate float64, into *[]time.Duration) error {
	n := max(1, int(rate*peerPass.Seconds()))
	return g.burden(ctx, b.peerUnary, n, func() error {
		t, err := g.client.openLoop(ctx, b.peerUnary, rate, n, manyClients)
		*into = append(*into, t.done...)
		return err
	})
}

func (b *bench) stopGateways() {
	for _, g := range b.gateways {
		g.stop()
	}
	b.gateways = nil
}

func (g *gateway) stop() {
	if g.client != nil {
		g.client.close()
	}
	if g.envoy != nil {
		g.envoy.stop()
	}
	for _, p := range g.processes {
		p.Stop(stopGrace)
	}
}

// explain adds the peer's name and the end of its processes' logs to an error.
func (g *gateway) explain(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	text := fmt.Sprintf("peer %q: %v", g.peer.name, err)
	logs, _ := filepath.Glob(filepath.Join(g.dir, "*.log"))
	for _, file := range logs {
		log, _ := os.ReadFile(file)
		lines := strings.Split(strings.TrimSpace(string(log)), "\n")
		text += fmt.Sprintf("\nthe end of %s:\n%s", filepath.Base(file), strings.Join(lines[max(0, len(lines)-logLines):], "\n"))
	}
	return errors.New(text)
}
