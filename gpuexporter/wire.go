package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/spillway-proxy/spillway/gpuexporter/internal/dcgm"
	"github.com/spillway-proxy/spillway/gpuexporter/internal/engine"
	"github.com/spillway-proxy/spillway/gpuexporter/internal/export"
	"github.com/spillway-proxy/spillway/gpuexporter/internal/fleet"
	"github.com/spillway-proxy/spillway/gpuexporter/internal/nvidia"
	"github.com/spillway-proxy/spillway/gpuexporter/internal/peer"
	"github.com/spillway-proxy/spillway/gpuexporter/internal/pods"
	"github.com/spillway-proxy/spillway/gpuexporter/internal/server"
	"github.com/spillway-proxy/spillway/gpuexporter/internal/settings"
	"github.com/spillway-proxy/spillway/gpuexporter/internal/simulate"
	"github.com/spillway-proxy/spillway/gpuexporter/internal/source"
)

// exporter is the program's parts, put together.
type exporter struct {
	config settings.Config
	log    *slog.Logger
	now    func() time.Time
	id     string
	client *http.Client
	board  *source.Board
	gpus   *nvidia.Source
}

// addSources makes the board. It fails where there would be nothing to measure.
func (e *exporter) addSources(ctx context.Context, library func(path string) nvidia.Library) error {
	e.board = source.NewBoard(e.now, e.log)
	timing := source.Timing{Interval: e.config.Interval, Deadline: e.config.Timeout}
	client := e.client
	others := 0
	for _, en := range e.config.Engines {
		e.board.Add(en.Name, source.Engine, engine.New(en.Name, en.URL, client), timing)
		others++
	}
	for _, u := range e.config.Peers {
		e.board.Add(u.Redacted(), source.Peer, peer.New(u, e.peerOptions(client)), timing)
		others++
	}
	if e.config.Simulate != nil {
		e.board.Add("simulated", source.Simulated, simulate.New(e.config.Simulate, e.config.Node, e.now), timing)
		others++
	}
	if e.config.DCGM != nil {
		e.board.Add(e.config.DCGM.Redacted(), source.DCGM, dcgm.New(e.config.DCGM, client), timing)
		others++
	}
	if e.config.PodResources != "" {
		kubelet, err := pods.New(e.config.PodResources)
		if err != nil {
			return fmt.Errorf("--pod-resources: %w", err)
		}
		e.board.Add(e.config.PodResources, source.Pods, kubelet, timing)
	}
	use, err := e.useNVML(ctx, library, others)
	if use {
		e.board.Add("nvml", source.NVML, e.gpus, timing)
	}
	return err
}

func (e *exporter) peerOptions(client *http.Client) peer.Options {
	return peer.Options{
		Client: client, Now: e.now, Self: e.id, Resolve: peer.LookupHost,
		Forget: e.config.DropAfter, MaxInstances: e.config.MaxInstances,
	}
}

// useNVML tries NVML once, for as long as a measurement may take. A driver that hangs already now is used all the same, and
// shown as hung.
func (e *exporter) useNVML(ctx context.Context, library func(path string) nvidia.Library, others int) (bool, error) {
	elsewhere := e.config.Simulate != nil || e.config.DCGM != nil
	if e.config.NVML == settings.Off || e.config.NVML == settings.Auto && elsewhere {
		if others == 0 {
			return false, errors.New("nothing to measure: NVML is off, and no --engine, --dcgm, --peer or --simulate is given")
		}
		return false, nil
	}
	probe := nvidia.New(library(e.config.NVMLLibrary))
	done := make(chan error, 1)
	go func() {
		_, err := probe.Sample(ctx)
		done <- err
	}()
	var err error
	answered := false
	select {
	case err = <-done:
		answered = true
	case <-time.After(e.config.Timeout):
		e.log.Warn("NVML did not answer in time: measuring goes on in the background")
	case <-ctx.Done():
		return false, nil
	}
	if e.gpus = probe; !answered {
		e.gpus = nvidia.New(library(e.config.NVMLLibrary)) // a source isn't for two at a time, and the probe may return yet
	}
	switch {
	case !errors.Is(err, nvidia.ErrUnavailable) && !errors.Is(err, nvidia.ErrNoGPU):
		return true, nil // any other error may pass
	case e.config.NVML == settings.On:
		return false, fmt.Errorf("--nvml on: %w", err)
	case others == 0:
		return false, fmt.Errorf("no GPU to measure: %w; give --engine, --dcgm, --peer or --simulate to run without one (see --help)", err)
	}
	e.log.Info("no GPU to measure here", "reason", err)
	return false, nil
}

// view puts the fleet together from the sources' states.
func (e *exporter) view(states []*source.State, now time.Time) fleet.View {
	return fleet.Compose(states, fleet.Options{
		Node: e.config.Node, GPUs: e.config.EngineGPUs, MaxInstances: e.config.MaxInstances, DropAfter: e.config.DropAfter,
	}, now)
}

// handler makes what is served, with metrics of its own registry.
func (e *exporter) handler() *server.Handler {
	registry := prometheus.NewRegistry()
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "gpuexporter_build_info", Help: "The program: always 1.",
		ConstLabels: prometheus.Labels{"version": Version, "goversion": runtime.Version(), "nvml": strconv.FormatBool(nvidia.Built)},
	})
	build.Set(1)
	registry.MustRegister(build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		export.New(export.Options{
			Board: e.board, View: e.view, Now: e.now, Host: e.config.Node, DCGM: e.config.DCGMNames, Pods: e.config.PodResources != "",
		}))
	return server.New(server.Options{
		Board: e.board, View: e.view, Now: e.now, ID: e.id,
		Metrics: promhttp.HandlerFor(registry, promhttp.HandlerOpts{
			ErrorHandling: promhttp.ContinueOnError, ErrorLog: slog.NewLogLogger(e.log.Handler(), slog.LevelWarn),
		}),
	})
}
