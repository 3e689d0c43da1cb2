// Spillway-run is what `make run` starts: an LLM simulator, an Envoy with the filter in front of it, and the exporter of
// pressure, until Ctrl-C. With -fleet it is what `make run-fleet` starts: two Envoys, which share limits through ratelimit and
// Redis.
//
// It leaves nothing behind: the simulator is part of this process, Envoy gets its configuration on the command line
// instead of in a file, and all programs are ended with this process, however it ends.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	settings, err := parse(os.Args[1:], os.Getenv)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		fail(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, settings); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "spillway-run:", err)
	os.Exit(1)
}
