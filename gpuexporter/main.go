// Command gpuexporter tells the filter of Spillway, and Prometheus, how full GPUs and inference servers are.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/prometheus/exporter-toolkit/web"

	"github.com/spillway-proxy/spillway/gpuexporter/internal/fetch"
	"github.com/spillway-proxy/spillway/gpuexporter/internal/nvidia"
	"github.com/spillway-proxy/spillway/gpuexporter/internal/server"
	"github.com/spillway-proxy/spillway/gpuexporter/internal/settings"
)

// Version is set by the linker.
var Version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr, nvidia.NewLibrary))
}

// run is the whole program: its exit status is 0 after a stop that was asked for, and 1 after an error.
func run(ctx context.Context, args []string, stdout, stderr io.Writer, library func(path string) nvidia.Library) int {
	config, err := settings.Parse(args, Version, stdout)
	if errors.Is(err, settings.ErrExit) {
		return 0
	}
	if err == nil {
		err = serve(ctx, config, stderr, library)
	}
	if err != nil {
		fmt.Fprintf(stderr, "gpuexporter: %v\n", err)
		return 1
	}
	return 0
}

func serve(ctx context.Context, config settings.Config, stderr io.Writer, library func(path string) nvidia.Library) error {
	log := newLog(config, stderr)
	e := exporter{config: config, log: log, now: time.Now, id: rand.Text(), client: fetch.NewClient()}
	if err := e.addSources(ctx, library); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", config.Listen)
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	handler := e.handler()
	httpServer := server.Listen(handler, log)
	failed := make(chan error, 1)
	go func() {
		flags := web.FlagConfig{WebConfigFile: &config.WebConfig}
		failed <- web.Serve(listener, httpServer, &flags, log.With("component", "web"))
	}()

	measuring, stopMeasuring := context.WithCancel(context.Background())
	defer stopMeasuring()
	e.board.Start(measuring)
	log.Info("gpuexporter is up", "version", Version, "address", listener.Addr().String(), "node", config.Node, "nvml", nvidia.Built)

	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	log.Info("stopping", "timeout", config.Shutdown)
	handler.Stop()
	ending, cancel := context.WithTimeout(context.Background(), config.Shutdown)
	defer cancel()
	if err := httpServer.Shutdown(ending); err != nil {
		log.Warn("some requests were cut off", "error", err)
		_ = httpServer.Close()
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		log.Warn("serving ended", "error", err)
	}
	// Ends at once: a measurement that hangs is not waited for, and the system takes NVML's resources back.
	stopMeasuring()
	e.board.Wait()
	return nil
}

func newLog(config settings.Config, to io.Writer) *slog.Logger {
	options := slog.HandlerOptions{Level: config.LogLevel}
	if config.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(to, &options))
	}
	return slog.New(slog.NewTextHandler(to, &options))
}
