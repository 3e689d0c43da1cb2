// Package source runs what measures, so that nothing that answers ever waits for it.
//
// Every source has a goroutine of its own. A measurement that takes longer than its deadline is given up for the round,
// and visible as hung; no second one is started beside it, so a driver that never returns costs one goroutine, not one
// each second. What answers reads the last good sample, which is a pointer, and says how old it is.
package source

import (
	"context"
	"time"

	"github.com/spillway-proxy/spillway/gpuexporter/internal/gpu"
	"github.com/spillway-proxy/spillway/gpuexporter/internal/pressure"
)

// Source measures something.
type Source interface {
	// Sample measures once. It should return when ctx is done, and may fail to: then it blocks its own source alone.
	Sample(ctx context.Context) (Sample, error)
}

// Sample is what a source saw.
type Sample struct {
	// GPUs are GPUs of this machine.
	GPUs []gpu.Reading
	// Instances are servers. Those of a source that measures GPUs and servers together have their GPUs already.
	Instances []Instance
	// GPUsPlaced says that the instances have these GPUs already.
	GPUsPlaced bool
	// Owners are who has which GPU, by its UUID or the name of its device.
	Owners map[string]Owner
	// Targets and Failed count the addresses behind a source that stands for several.
	Targets, Failed int
	// Notes are counts of what was odd about this sample, by a short fixed name.
	Notes map[string]int
}

// Owner is a container that has a GPU.
type Owner struct {
	Namespace, Pod, Container string
}

// Instance is a server as it was at some time. Its AgeSeconds is not used here: ages are worked out when they are written.
type Instance struct {
	pressure.Instance
	// At is when it was measured: zero for when its sample began.
	At time.Time
	// GPUsAt is when its GPUs were measured, where that was apart from it.
	GPUsAt time.Time
}

// Kind says what a source stands for.
type Kind string

// The kinds of sources.
const (
	NVML      Kind = "nvml"
	DCGM      Kind = "dcgm"
	Pods      Kind = "pods"
	Engine    Kind = "engine"
	Peer      Kind = "peer"
	Simulated Kind = "simulated"
)

// Measures says whether a source measures servers or GPUs, rather than know about them.
func (k Kind) Measures() bool {
	return k != Pods
}

// Local says whether a source measures by itself, rather than repeat what another exporter measured.
func (k Kind) Local() bool {
	return k != Peer
}

// State is what is known of a source. It is never changed after it was published.
type State struct {
	Name string
	Kind Kind
	// Sample is the last good one, nil before the first; SampledAt is when its measurement began.
	Sample    *Sample
	SampledAt time.Time
	// Err says why the last measurement gave nothing; nil if it was good.
	Err error
	// Hung says that a measurement has been running for longer than its deadline.
	Hung bool
	// Duration is how long the last finished measurement took.
	Duration time.Duration
	// Good, Failed and Late count measurements: finished well, with an error, and beyond the deadline.
	Good, Failed, Late uint64
}

// Up says whether the last measurement was good and in time.
func (s *State) Up() bool {
	return s.Sample != nil && s.Err == nil && !s.Hung
}
