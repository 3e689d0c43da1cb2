// Fuzz runs the fuzz targets of this repository, and says of each how far it came.
//
//	fuzz [-time 10s] [-parallel 1] [-only REGEXP] FOLDER...
//
// Each target gets the time; so many run at once, and share the CPUs. It stops at the first failure, and says how to bring that about again. What
// is found worth keeping lies in Go's build cache: the next run begins with it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"sync"
	"time"
)

func main() {
	r := &runner{out: os.Stdout}
	flag.DurationVar(&r.time, "time", 10*time.Second, "how long each target runs")
	parallel := flag.Int("parallel", 1, "how many run at once")
	only := flag.String("only", "", "a regular expression that the targets' names, FOLDER NAME, have to match")
	flag.Parse()
	targets, err := find(*only, flag.Args())
	if err == nil && len(targets) == 0 {
		err = errors.New("there is no such fuzz target")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "fuzz:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	r.cpus = max(1, runtime.NumCPU()/max(1, *parallel))
	if !r.all(ctx, targets, max(1, *parallel)) {
		os.Exit(1)
	}
}

// runner runs targets.
type runner struct {
	out  io.Writer
	time time.Duration
	cpus int // for each

	mu   sync.Mutex // guards out
	done int
}

// all runs targets, so many at once, until one fails, and says whether none did.
func (r *runner) all(ctx context.Context, targets []target, parallel int) bool {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan target)
	var running sync.WaitGroup
	for range parallel {
		running.Go(func() {
			for t := range next {
				if err := r.one(ctx, t, len(targets)); err != nil {
					cancel(err)
				}
			}
		})
	}
	for _, t := range targets {
		if ctx.Err() != nil {
			break
		}
		next <- t
	}
	close(next)
	running.Wait()
	return ctx.Err() == nil
}

// one runs a target, and prints a line about it.
func (r *runner) one(ctx context.Context, t target, of int) error {
	if ctx.Err() != nil {
		return nil
	}
	command := exec.CommandContext(ctx, "go", "-C", t.folder, "test", "-run", "^$", "-fuzz", "^"+t.name+"$", "-fuzztime", r.time.String(),
		"-fuzzminimizetime", "100x", "-parallel", strconv.Itoa(r.cpus), ".")
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) } // go test ends the processes that it has started
	command.WaitDelay = 10 * time.Second
	text, err := command.CombinedOutput()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done++
	switch {
	case err == nil:
		_, _ = fmt.Fprintf(r.out, "%d/%d  %s %s: %s\n", r.done, of, t.folder, t.name, progress(text))
		return nil
	case ctx.Err() != nil: // it was stopped
		return nil
	}
	_, _ = fmt.Fprintf(r.out, "%s\n%s %s failed: %v, %s\n%s\n", text, t.folder, t.name, err, progress(text), again(t, text))
	return err
}
