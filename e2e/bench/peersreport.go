package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"
)

//go:embed peers.md.tmpl
var peersText string

// What stands around the section about the peers, which is measured by itself: make bench leaves it as it is.
const (
	peersBegin = "<!-- peers:begin -->"
	peersEnd   = "<!-- peers:end -->"
)

// peersPage is what that section's text leaves open.
type peersPage struct {
	Command, Took                  string
	Host                           host
	Short                          bool
	Rounds, Requests, Streams      int
	Connections, StreamConnections int
	Events, Passes, Starts         int
	Pace, Pass                     time.Duration
	Rate, Load                     string
	What, CPU, Latency, Memory     string
}

// peersSection is the text, with its marks.
func (b *bench) peersSection(ctx context.Context, took time.Duration) (string, error) {
	what := &table{}
	what.row("", "version", "what was configured")
	what.WriteString("|---|---|---|\n")
	h := describeHost(ctx, b.root, b.envoyVersion)
	for _, p := range b.peers {
		version := p.version
		if version == "" {
			version = "this commit"
		}
		what.row(p.label, version, p.setup)
	}
	text, err := fill(peersText, peersPage{
		Command: b.command, Took: took.Round(time.Second).String(), Host: h, Short: b.rounds < enoughRounds,
		Rounds: b.rounds, Requests: b.requests, Streams: peerStreams, Connections: connections, StreamConnections: peerConnections,
		Events: streamEvents, Passes: b.passes, Starts: b.starts, Pace: peerPace, Pass: peerPass, Rate: fmt.Sprintf("%.0f", b.rate),
		Load: loadAverage(firstLine("/proc/loadavg")),
		What: what.String(), CPU: b.peerCPUTable(), Latency: b.peerLatencyTable(), Memory: b.peerMemoryTable(),
	})
	return peersBegin + "\n" + string(text) + peersEnd + "\n", err
}

// loadAverage is that of the last 15 minutes, of what /proc/loadavg says.
func loadAverage(text string) string {
	if fields := strings.Fields(text); len(fields) > 2 {
		return fields[2]
	}
	return unknown
}

// peerCPUTable compares each peer with the first, which is bare Envoy.
func (b *bench) peerCPUTable() string {
	t := newTable("", "JSON, µs", "× bare", "95 %", "stream, µs", "× bare", "95 %")
	base := b.peerResults[b.peers[0]]
	for _, p := range b.peers {
		r := b.peerResults[p]
		cells := []string{p.label}
		for _, w := range []workload{b.peerUnary, b.peerStream} {
			quotients := ratios(r.cpu[w.name], base.cpu[w.name])
			low, high := interval(quotients)
			cells = append(cells, fmt.Sprintf("%.0f", median(r.cpu[w.name])), fmt.Sprintf("**%.2f**", median(quotients)),
				fmt.Sprintf("%.2f to %.2f", low, high))
		}
		t.row(cells...)
	}
	return t.String()
}

func (b *bench) peerLatencyTable() string {
	t := newTable("", fmt.Sprintf("at %.0f/s: p50, ms", b.rate), "p99", "at half of its own, /s", "p50, ms", "p99")
	for _, p := range b.peers {
		r := b.peerResults[p]
		cells := []string{p.label, quantileMS(r.same, 0.5), quantileMS(r.same, 0.99), fmt.Sprintf("%.0f", r.ownRate)}
		t.row(append(cells, quantileMS(r.own, 0.5), quantileMS(r.own, 0.99))...)
	}
	return t.String()
}

func quantileMS(latencies []time.Duration, q float64) string {
	return fmt.Sprintf("%.2f", quantile(latencies, q).Seconds()*1e3)
}

func (b *bench) peerMemoryTable() string {
	t := newTable("", "first answer, s", "CPU until then, s", "RSS at rest, MB", "after load")
	for _, p := range b.peers {
		r := b.peerResults[p]
		t.row(p.label, fmt.Sprintf("%.2f", median(r.ready)), fmt.Sprintf("%.2f", median(r.effort)), fmt.Sprintf("%.0f", median(r.rest)/1e6), fmt.Sprintf("%.0f", r.loaded/1e6))
	}
	return t.String()
}

// keptSection is a section that a report has, with its marks; an empty one where it has none.
func keptSection(file, begin, end string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("find the section that is to stay: %w", err)
	}
	_, rest, _ := strings.Cut(string(text), begin)
	section, _, ended := strings.Cut(rest, end+"\n")
	if !ended {
		section = "\n"
	}
	return begin + section + end + "\n", nil
}
