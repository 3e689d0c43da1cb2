package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
)

//go:embed gates.md.tmpl
var gatesText string

// What stands around the section about the gates, which can be measured by itself.
const (
	gatesBegin = "<!-- gates:begin -->"
	gatesEnd   = "<!-- gates:end -->"
)

// gatesPage is what that section's text leaves open.
type gatesPage struct {
	Host                        host
	Command                     string
	Rounds, Requests, Streams   int
	Cost, Core                  string
	CoreCount                   int
	Target, Patience, Length    time.Duration
	Slots, Tokens, Calm         int
	Prompt, Token               time.Duration
	Capacity                    string
	Sent                        int
	Workers, Arms, Runs         int
	Table, Lanes, Reasons, Gain string
	Breaker, Latency, Throttle  string
	Queue, Traces, Saved, Most  string
	TraceLength                 time.Duration
	TraceRounds                 int
}

func (b *bench) gatesSection(ctx context.Context) (string, error) {
	text, err := fill(gatesText, gatesPage{
		Host: describeHost(ctx, b.root, b.envoyVersion), Command: b.command,
		Rounds: b.rounds, Requests: b.requests, Streams: b.streams, Cost: b.gatesTable(),
		Core: coreTable(b.gateBenchmarks()), CoreCount: coreCount,
		Target: surgeTarget, Patience: surgePatience, Length: b.surgeTime, Slots: surgeSlots, Tokens: surgeTokens, Calm: surgeCalm,
		Prompt: surgePrompt, Token: surgeToken, Capacity: fmt.Sprintf("%.0f", surgeCapacity()), Sent: len(surgeTrace(b.surgeTime)),
		Workers: manyWorkers, Arms: len(surgeArms()), Runs: b.surgeRounds,
		Table: b.surgeTable(), Lanes: b.surgeLanes(), Reasons: b.surgeReasons(), Gain: b.surgeText(),
		Breaker: surgeBreaker, Latency: surgeLatency, Throttle: surgeThrottle, Queue: surgeQueue,
		Traces: b.tracesTable(), TraceLength: traceTime, TraceRounds: b.traceRounds, Saved: b.savedText(),
		Most: fmt.Sprintf("%.1f %%", 100*mostInTime(surgeTrace(b.surgeTime))),
	})
	return gatesBegin + "\n" + string(text) + gatesEnd + "\n", err
}

// replaceSection puts a section, with the marks that it stands between, in the place of the one that a report has; where there is
// no report it is all.
func replaceSection(file, begin, end, section string) ([]byte, error) {
	known, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return []byte(section), nil
	}
	if err != nil {
		return nil, fmt.Errorf("find the report whose section is to be replaced: %w", err)
	}
	before, rest, found := strings.Cut(string(known), begin)
	_, after, ended := strings.Cut(rest, end+"\n")
	if !found || !ended {
		return nil, errors.New("find the section to be replaced in " + file + ": it has no lines " + begin + " and " + end)
	}
	return []byte(before + section + after), nil
}

// gateBenchmarks are the core's own of the gates, bodyBenchmarks the others.
func (b *bench) gateBenchmarks() []benchmark {
	return slices.DeleteFunc(slices.Clone(b.core), func(c benchmark) bool { return !c.ofGates() })
}

func (b *bench) bodyBenchmarks() []benchmark {
	return slices.DeleteFunc(slices.Clone(b.core), benchmark.ofGates)
}

func (b benchmark) ofGates() bool { return strings.HasPrefix(b.name, gatesPackage+"/") }
