// Command llmsim serves a simulated LLM inference server; see package llmsim.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spillway-proxy/spillway/e2e/support/llmsim"
)

const synopsis = `llmsim simulates an OpenAI-compatible LLM inference server.

Usage:
  llmsim [flags]

It answers POST /v1/chat/completions, /v1/completions, /v1/responses, /v1/messages and
/v1/embeddings, as JSON or as a stream of server-sent events, GET /v1/models, /health
and /healthz. The flags set how it answers; x-sim-* headers of a request override them for that request.

  llmsim --slots 8 --ttft 200ms --itl 20ms
  curl -N localhost:8000/v1/chat/completions -H 'x-sim-tokens: 5' \
    -d '{"model":"sim-model","stream":true,"messages":[{"role":"user","content":"hi"}]}'

Flags:
`

const controlHelp = `
Observation:
  GET /sim/stats       totals: received, completed, tokens, running, waiting, ...
  GET /sim/requests    the latest requests as this server saw them, with outcomes
  POST /sim/reset      forget both
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "llmsim:", err)
		stop()
		os.Exit(2)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, args []string, out io.Writer) error {
	var opts llmsim.Options
	fs := flag.NewFlagSet("llmsim", flag.ContinueOnError)
	// The package would print the whole help after each wrong flag, above the
	// error that matters.
	fs.SetOutput(io.Discard)
	addr := fs.String("addr", "127.0.0.1:8000", "listen `address`; port 0 picks a free one")
	opts.RegisterFlags(fs)
	switch err := fs.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		writeHelp(out, fs)
		return nil
	case err != nil:
		return fmt.Errorf("%w; see llmsim --help", err)
	case fs.NArg() > 0:
		return fmt.Errorf("unexpected argument %q; see llmsim --help", fs.Arg(0))
	}
	if err := opts.Validate(); err != nil {
		return err
	}
	s := llmsim.New(opts)
	bound, err := s.Start(*addr)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "llmsim listens on http://%s\n", bound)
	<-ctx.Done()
	return s.Close()
}

func writeHelp(out io.Writer, fs *flag.FlagSet) {
	fmt.Fprint(out, synopsis)
	llmsim.WriteFlagHelp(out, fs)
	fmt.Fprint(out, "\nRequest headers:\n")
	llmsim.WriteHeaderHelp(out)
	fmt.Fprint(out, controlHelp)
}
