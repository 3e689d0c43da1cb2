// Package simulate makes up servers and GPUs whose load follows a profile, for demonstrations and tests.
package simulate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spillway-proxy/spillway/gpuexporter/internal/gpu"
	"github.com/spillway-proxy/spillway/gpuexporter/internal/pressure"
	"github.com/spillway-proxy/spillway/gpuexporter/internal/source"
)

// errSilent is what happens at the times at which a profile is silent.
var errSilent = errors.New("the profile is silent now")

// Source simulates a profile. Its values depend on nothing but the time since its start.
type Source struct {
	profile *Profile
	node    string
	now     func() time.Time
	start   time.Time
}

// New starts a profile now.
func New(p *Profile, node string, now func() time.Time) *Source {
	return &Source{profile: p, node: node, now: now, start: now()}
}

// Sample gives the values of this time.
func (s *Source) Sample(context.Context) (source.Sample, error) {
	elapsed := s.now().Sub(s.start)
	within := elapsed
	if s.profile.Repeat > 0 {
		within %= time.Duration(s.profile.Repeat)
	}
	for _, silent := range s.profile.Silent {
		if within >= time.Duration(silent.From) && within < time.Duration(silent.To) {
			return source.Sample{}, errSilent
		}
	}
	sample := source.Sample{GPUsPlaced: true}
	for i := range s.profile.Instances {
		in := &s.profile.Instances[i]
		for n := range max(in.Count, 1) {
			s.instance(&sample, in, n, elapsed)
		}
	}
	return sample, nil
}

func (s *Source) instance(to *source.Sample, in *instance, n int, elapsed time.Duration) {
	name := in.Name
	if in.Count > 1 {
		name = fmt.Sprintf("%s-%d", in.Name, n)
	}
	elapsed = max(elapsed-time.Duration(n)*time.Duration(in.Stagger), 0)
	if s.profile.Repeat > 0 {
		elapsed %= time.Duration(s.profile.Repeat)
	}
	made := pressure.Instance{Name: s.node + "/" + name}
	if v := in.ActiveDecodeBlocks.at(elapsed); v != nil {
		made.ActiveDecodeBlocks = pressure.Share(*v)
	}
	made.ActivePrefillTokens = in.ActivePrefillTokens.count(elapsed)
	made.Running, made.Waiting = in.Running.count(elapsed), in.Waiting.count(elapsed)
	for range in.GPUs.Count {
		g := in.GPUs.at(elapsed)
		g.Index = len(to.GPUs)
		g.UUID = fmt.Sprintf("GPU-simulated-%s-%d", s.node, g.Index)
		to.GPUs = append(to.GPUs, g)
		made.GPUs = append(made.GPUs, g.Pressure())
	}
	to.Instances = append(to.Instances, source.Instance{Instance: made})
}

func (c curve) count(t time.Duration) *int64 {
	v := c.at(t)
	if v == nil {
		return nil
	}
	return pressure.Count(*v)
}

func (g *gpus) at(t time.Duration) gpu.Reading {
	r := gpu.Reading{Name: "Simulated GPU", Utilization: g.Utilization.at(t)}
	if g.MemoryTotalBytes > 0 {
		total := g.MemoryTotalBytes
		r.MemoryTotal = &total
		if share := g.MemoryUsed.at(t); share != nil {
			used := uint64(*share * float64(total))
			r.MemoryUsed = &used
		}
	}
	if v := g.Throttled.at(t); v != nil {
		var reasons gpu.Reasons
		if *v > 0 {
			reasons = 0x40 // hw_thermal_slowdown
		}
		r.Throttle = &reasons
	}
	return r
}
