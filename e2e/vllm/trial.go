package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Not all requests of a run are counted: the queues fill first, and the last ones could not be answered before its end.
const (
	settle = 12 * time.Second
	finish = 10 * time.Second

	resettle = 20 * time.Second // after which the slots are to be those of another server

	clientOverhead = 4 * time.Minute // guidellm imports PyTorch, makes its prompts, and writes its report
)

// The service level objective: those of MLPerf's server scenario with Llama 2 70B.
const (
	sloTTFT = 2.0 // seconds to the first token
	sloTPOT = 0.2 // and for each further one, in the mean
)

// trial is one run.
type trial struct {
	Mode     string                    `json:"mode"`
	When     time.Time                 `json:"when"`
	From     float64                   `json:"from"`              // requests that begin from here
	To       float64                   `json:"to"`                // to here are counted
	Changed  float64                   `json:"changed,omitempty"` // when the server became another one; 0: it didn't
	Requests []request                 `json:"requests"`
	Samples  []sample                  `json:"samples"`
	Refusals map[string]map[string]int `json:"refusals"` // by priority and reason
}

// once does one run.
func (o options) once(ctx context.Context, mode string, round int) (*trial, error) {
	var turns *relay
	if o.then != "" {
		var err error
		if turns, err = startRelay(o.server); err != nil {
			return nil, err
		}
		defer turns.close()
		o.server = turns.url
	}
	g, err := o.startGateway(ctx, mode)
	if err != nil {
		return nil, err
	}
	defer g.stop()
	t := &trial{Mode: mode, When: time.Now().UTC()}
	watched, stop := context.WithCancel(ctx)
	samples := make(chan []sample, 1)
	go func() { samples <- watch(watched, o.server, g.admin) }()
	clients, err := o.ask(ctx, g, round, turns)
	stop()
	t.Samples = <-samples
	if err != nil {
		return nil, err
	}
	for i, c := range clients {
		requests, from, to, err := c.read()
		if err != nil {
			return nil, err
		}
		t.Requests = append(t.Requests, requests...)
		if from += settle.Seconds(); i == 0 || from > t.From {
			t.From = from
		}
		if to -= finish.Seconds(); i == 0 || to < t.To {
			t.To = to
		}
	}
	t.Requests = slices.DeleteFunc(t.Requests, func(r request) bool { return r.Began < t.From || r.Began > t.To })
	t.Samples = slices.DeleteFunc(t.Samples, func(s sample) bool { return s.At < t.From || s.At > t.To })
	if len(t.Samples) < 2 || len(t.Requests) == 0 {
		return nil, errors.New("the clients asked at different times: a longer -load makes them overlap")
	}
	log, err := os.Open(filepath.Join(workFolder, accessLog))
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	t.Refusals, err = readRefusals(log, t.From, t.To)
	if turns != nil {
		t.Changed = float64(turns.changed.Load()) / 1e9
	}
	return t, err
}

// ask runs all clients, and waits for their end.
func (o *options) ask(ctx context.Context, g *gateway, round int, turns *relay) (clients []*client, err error) {
	defer func() {
		for _, c := range clients {
			c.process.Stop(stopGrace)
		}
	}()
	for lane := range lanes {
		c, err := o.startClient(g, lane, round)
		if err != nil {
			return clients, err
		}
		clients = append(clients, c)
	}
	if err := o.pin(ctx, clients); err != nil {
		return clients, err
	}
	if turns != nil {
		defer turns.turn(o.then, o.load/2)()
	}
	for _, c := range clients {
		if err := c.wait(ctx, o.load+clientOverhead); err != nil {
			return clients, err
		}
	}
	return clients, nil
}

// readRefusals counts the reasons of refusals in an access log.
func readRefusals(log io.Reader, from, to float64) (map[string]map[string]int, error) {
	counts := map[string]map[string]int{}
	for scanner := bufio.NewScanner(log); scanner.Scan(); {
		var line struct {
			Time                       time.Time
			Decision, Priority, Reason string
			Gate                       string
		}
		if !strings.HasPrefix(scanner.Text(), "{") {
			continue // Envoy's own messages are in the same file
		}
		if err := json.Unmarshal(scanner.Bytes(), &line); err != nil {
			return nil, fmt.Errorf("parse the access log: %w", err)
		}
		if at := seconds(line.Time); line.Decision != "REJECTED" || at < from || at > to {
			continue
		}
		priority := strings.ToLower(line.Priority)
		if counts[priority] == nil {
			counts[priority] = map[string]int{}
		}
		counts[priority][line.Gate+"/"+line.Reason]++
	}
	return counts, nil
}

// of gives the requests of a priority, or of all for "".
func (t *trial) of(priority, outcome string) (list []request) {
	for _, r := range t.Requests {
		if (priority == "" || r.Priority == priority) && (outcome == "" || r.Outcome == outcome) {
			list = append(list, r)
		}
	}
	return list
}

// inTime says whether a request was answered as the objective wants.
func (r request) inTime() bool {
	return r.Outcome == answered && r.TTFT <= sloTTFT && r.Ended-r.Began-r.TTFT <= sloTPOT*float64(max(r.Tokens-1, 1))
}

// ttft is a quantile of the time to the first token, of all requests of a priority that were not refused.
func (t *trial) ttft(priority string, q float64) float64 {
	var values []float64
	for _, r := range t.of(priority, "") {
		if r.Outcome != refused {
			values = append(values, r.TTFT)
		}
	}
	if len(values) == 0 {
		return -1
	}
	slices.Sort(values)
	return values[min(int(q*float64(len(values))), len(values)-1)]
}

// share is that of a priority's requests of which f is true, in percent.
func (t *trial) share(priority string, f func(request) bool) float64 {
	n, all := 0, t.of(priority, "")
	for _, r := range all {
		if f(r) {
			n++
		}
	}
	return 100 * float64(n) / float64(max(len(all), 1))
}

// goodput is the tokens a second of answers in time, and generated all that vLLM made.
func (t *trial) goodput(priority string) float64 {
	tokens := 0
	for _, r := range t.of(priority, answered) {
		if r.inTime() {
			tokens += r.Tokens
		}
	}
	return float64(tokens) / (t.To - t.From)
}

// grown is by how much a counter has grown.
func (t *trial) grown(counter func(sample) float64) float64 {
	return counter(t.Samples[len(t.Samples)-1]) - counter(t.Samples[0])
}

func (t *trial) generated() float64 {
	return t.grown(func(s sample) float64 { return s.Generated }) / (t.Samples[len(t.Samples)-1].At - t.Samples[0].At)
}

func (t *trial) preemptions() float64 {
	return t.grown(func(s sample) float64 { return s.Preemptions })
}

func (t *trial) mean(gauge func(sample) float64) float64 {
	sum := 0.0
	for _, s := range t.Samples {
		sum += gauge(s)
	}
	return sum / float64(len(t.Samples))
}

// slots are the least and the most that the filter had; where the server has changed, before that, and from resettle after it on.
func (t *trial) slots() string {
	if t.Changed == 0 {
		return t.slotsIn(t.From, t.To)
	}
	return fmt.Sprintf("%s before the change, %s from %v after it on", t.slotsIn(t.From, t.Changed), t.slotsIn(t.Changed+resettle.Seconds(), t.To), resettle)
}

func (t *trial) slotsIn(from, to float64) string {
	least, most := math.Inf(1), 0.0
	for _, s := range t.Samples {
		if s.At >= from && s.At <= to {
			least, most = min(least, s.Slots), max(most, s.Slots)
		}
	}
	if least >= most {
		return fmt.Sprintf("%.0f", most)
	}
	return fmt.Sprintf("%.0f to %.0f", least, most)
}

// above is the share of the time, in percent, with a KV cache fuller than limit.
func (t *trial) above(limit float64) float64 {
	return 100 * t.mean(func(s sample) float64 {
		if s.KV > limit {
			return 1
		}
		return 0
	})
}

// summary is for who watches.
func (t *trial) summary() string {
	var b strings.Builder
	if t.Changed > 0 { // the two servers' counters have nothing to do with each other
		fmt.Fprintf(&b, "  %.0f s; %.0f tokens/s in time; %s slots\n", t.To-t.From, t.goodput(""), t.slots())
	} else {
		fmt.Fprintf(&b, "  %.0f s; %.0f tokens/s, %.0f of them in time; %.0f preemptions; KV %.2f; %.1f running, %.1f waiting in vLLM; %s slots\n",
			t.To-t.From, t.generated(), t.goodput(""), t.preemptions(), t.mean(func(s sample) float64 { return s.KV }),
			t.mean(func(s sample) float64 { return s.Running }), t.mean(func(s sample) float64 { return s.Waiting }), t.slots())
	}
	for _, l := range lanes {
		fmt.Fprintf(&b, "  %-6s %3d requests: %3d answered, %3d refused, %3d unfinished; TTFT p50 %.2f p95 %.2f; %.0f %% in time; %v\n", l.priority,
			len(t.of(l.priority, "")), len(t.of(l.priority, answered)), len(t.of(l.priority, refused)), len(t.of(l.priority, unfinished)),
			t.ttft(l.priority, 0.5), t.ttft(l.priority, 0.95), t.share(l.priority, request.inTime), t.Refusals[l.priority])
	}
	return b.String()
}
