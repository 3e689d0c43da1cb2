package main

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
)

// group is the programs that run.
type group struct{ programs []program }

type program struct {
	name string
	*envoyproc.Process
}

// add takes over what was started, if anything, also when that went wrong.
func (g *group) add(name string, p *envoyproc.Process, err error) error {
	if p != nil {
		g.programs = append(g.programs, program{name, p})
	}
	return err
}

// stop ends all, the last first, so that nobody misses what it asks.
func (g *group) stop() {
	for _, p := range slices.Backward(g.programs) {
		p.Stop(stopGrace)
	}
}

// await waits for ctx, which is an end as it should be, or for the end of any of the programs, which isn't.
func (g *group) await(ctx context.Context) error {
	ended := make(chan program, len(g.programs))
	var watched sync.WaitGroup
	defer watched.Wait()
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, p := range g.programs {
		watched.Go(func() {
			select {
			case <-p.Done():
				ended <- p
			case <-watching.Done():
			}
		})
	}
	select {
	case <-ctx.Done():
		fmt.Println("\nstopping")
		return nil
	case p := <-ended:
		return fmt.Errorf("%s ended by itself (%s); its last messages are above", p.name, p.how())
	}
}

// how says how a program ended.
func (p program) how() string {
	if err := p.Err(); err != nil {
		return err.Error()
	}
	return "exit status 0"
}
