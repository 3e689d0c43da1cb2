package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	pollers = 200
	// They ask so many times as often as once a second, so that what it costs stands out; the figures are divided by it.
	pollsFaster = 10
	pollsAtMost = 0.02 // of the CPU of the load beside them
)

// polled is the CPU of the polled Envoy, in seconds a second, by pass.
type polled struct{ alone, beside []float64 }

// measurePolling sends an Envoy with the admin surface the load of the latency measurement, with clients who ask for the status beside it, and without.
func (b *bench) measurePolling(ctx context.Context) error {
	v := spillway("polled", "", "", `{"requestHold":"stopIteration","admin":{"path":"/spillway","read":"open"},
		"limits":[{"name":"limit-1","per":["user"],"unit":"completionTokens","quantity":`+fmt.Sprint(plenty)+`,"window":"1h"}]}`)
	v.check = nil // what is asked of the surface is counted by nobody but Envoy
	e, err := b.startEnvoy(ctx, v, 1, manyClients)
	if err != nil {
		return err
	}
	defer e.stop()
	if _, err := e.client.closedLoop(ctx, b.unary, warmRequests, connections); err != nil {
		return e.explain(err)
	}
	for i := range b.passes {
		first, second := b.pollingPass, b.plainPass
		if i%2 == 1 {
			first, second = second, first
		}
		if err := errors.Join(first(ctx, e), second(ctx, e)); err != nil {
			return e.explain(err)
		}
	}
	b.say("polling: %.2f %% of the load at %.0f requests/s", 100*median(b.pollingShares()), b.rate)
	return nil
}

func (b *bench) plainPass(ctx context.Context, e *envoy) error {
	cpu, err := b.loadedFor(ctx, e)
	b.polls.alone = append(b.polls.alone, cpu)
	return err
}

func (b *bench) pollingPass(ctx context.Context, e *envoy) error {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	failed := make([]error, pollers)
	client := &http.Client{Timeout: requestTimeout, Transport: &http.Transport{MaxIdleConnsPerHost: pollers}}
	for i := range pollers {
		all.Go(func() {
			interval := time.Second / pollsFaster
			pause(interval * time.Duration(i) / pollers)
			for every := time.NewTicker(interval); ctx.Err() == nil; <-every.C {
				if err := pollOnce(ctx, client, e.gateway+"/spillway/status"); err != nil && ctx.Err() == nil {
					failed[i] = err
					return
				}
			}
		})
	}
	cpu, err := b.loadedFor(ctx, e)
	cancel()
	all.Wait()
	client.CloseIdleConnections()
	b.polls.beside = append(b.polls.beside, cpu)
	return errors.Join(append(failed, err)...)
}

// pollOnce reads the whole status, as who asks for the first time: a client that says which it has costs less.
func pollOnce(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the status is answered with %d", response.StatusCode)
	}
	_, err = io.Copy(io.Discard, response.Body)
	return err
}

// loadedFor is the CPU, in seconds a second, that an Envoy takes while it has the load of a pass.
func (b *bench) loadedFor(ctx context.Context, e *envoy) (cpu float64, err error) {
	before, err := cpuTime(e.process.PID())
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if _, err = e.client.openLoop(ctx, b.unary, b.rate, int(b.rate*b.pass.Seconds()), manyClients); err != nil {
		return 0, err
	}
	wall := time.Since(began)
	after, err := cpuTime(e.process.PID())
	return (after - before).Seconds() / wall.Seconds(), err
}

// pollingShares is what polling once a second adds, as a share of the load's own CPU, by pass.
func (b *bench) pollingShares() []float64 {
	shares := ratios(b.polls.beside, b.polls.alone)
	for i := range shares {
		shares[i] = (shares[i] - 1) / pollsFaster
	}
	return shares
}

func (b *bench) pollingText() string {
	shares := b.pollingShares()
	share := median(shares)
	low, high := interval(shares)
	text := fmt.Sprintf("%d clients that read the whole status once a second add **%.1f %%** (95 %%: %.1f to %.1f) to the CPU of %.0f JSON requests a second with one limit.",
		pollers, 100*share, 100*low, 100*high, b.rate)
	if enough := b.rate * share / pollsAtMost; enough > b.rate {
		text += fmt.Sprintf(" Beside %.0f requests a second or more it would be less than %.0f %%.", enough, 100*pollsAtMost)
	}
	return text
}
