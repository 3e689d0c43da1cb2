// Spillway-image packs the compiled filter as the OCI image that Istio's agent and Envoy Gateway fetch.
//
//	spillway-image build --wasm FILE --version V --output DIR --archive FILE
//	spillway-image push --layout DIR HOST/REPOSITORY
//	spillway-image serve --wasm FILE --listen HOST:PORT
//	spillway-image sbom --version V --output FILE [--modules-of FILE --tinygo V] BINARY
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "spillway-image:", err)
		os.Exit(1)
	}
}

type commands struct {
	Build buildCommand `cmd:"" help:"Pack the filter as an image: a layout, and one file of it."`
	Push  pushCommand  `cmd:"" help:"Push a layout to a registry."`
	Serve serveCommand `cmd:"" help:"Serve the filter's image from a registry in memory, over plain HTTP: for tests."`
	SBOM  sbomCommand  `cmd:"" name:"sbom" help:"List the Go modules that a program is linked from, as CycloneDX JSON."`
}

// output is where a command says what it did.
type output struct {
	io.Writer
	// notes are what the user should know besides.
	notes io.Writer
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	parser, err := kong.New(&commands{}, kong.Name("spillway-image"), kong.Writers(stdout, stderr),
		kong.Description("The filter as an OCI image."), kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(output{stdout, stderr}))
	if err != nil {
		return err
	}
	command, err := parser.Parse(args)
	if err != nil {
		return err
	}
	return command.Run()
}
