// Package fleet puts what the sources saw together into one document.
//
//   - GPUs of this machine belong to the server that uses them: to the only one, or as configured; else they are an
//     instance of their own, under the machine's name.
//   - An instance that several sources tell of is told once: the youngest, so a copy that came back through a circle of
//     exporters never replaces the original.
//   - A GPU that several instances tell of is told once (gpus.go).
//   - What is older than DropAfter is gone: ages only ever grow, so this also ends what circles.
//   - Of more than MaxInstances those with the fullest KV caches are left out, and counted: if any instance is free, the
//     document still shows it, and "every instance is busy" stays true or false. What the mean says, it no longer does.
package fleet

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"github.com/spillway-proxy/spillway/gpuexporter/internal/gpu"
	"github.com/spillway-proxy/spillway/gpuexporter/internal/pressure"
	"github.com/spillway-proxy/spillway/gpuexporter/internal/source"
)

// Options say how the document is put together.
type Options struct {
	// Node is the machine's name, and that of an instance for GPUs that no server has.
	Node string
	// GPUs are the GPUs of the servers by instance name: indices or UUIDs.
	GPUs         map[string][]string
	MaxInstances int
	DropAfter    time.Duration
}

// Member is an instance of the fleet, with when it was measured. Its GPUs are not in it, but in gpus.
type Member struct {
	pressure.Instance
	At    time.Time
	Local bool
	gpus  []measuredGPU
}

// View is the fleet at one time.
type View struct {
	Members []Member
	// Omitted instances were beyond the bound, here or at a peer; Duplicate ones were told of more than once; Expired ones
	// were too old.
	Omitted, Duplicate, Expired int
	// DuplicateGPUs were told of by another instance, too.
	DuplicateGPUs int
}

// Compose makes a view of the sources' states.
func Compose(states []*source.State, o Options, now time.Time) View {
	var v View
	fresh := func(at time.Time) bool { return now.Sub(at) <= o.DropAfter }
	members := v.collect(states, fresh)
	place(states, o, fresh, &members)
	members = v.youngest(members)
	members = v.tellGPUsOnce(members)
	v.Members = v.bound(members, o.MaxInstances)
	slices.SortFunc(v.Members, func(a, b Member) int { return cmp.Compare(a.Name, b.Name) })
	return v
}

// collect takes the instances that aren't too old.
func (v *View) collect(states []*source.State, fresh func(time.Time) bool) []Member {
	var members []Member
	for _, s := range states {
		if s.Sample == nil {
			continue
		}
		v.Omitted += s.Sample.Notes["omitted"]
		for _, i := range s.Sample.Instances {
			at := i.At
			if at.IsZero() {
				at = s.SampledAt
			}
			if !fresh(at) {
				v.Expired++
				continue
			}
			m := Member{Instance: i.Instance, At: at, Local: s.Kind.Local()}
			m.take(i)
			members = append(members, m)
		}
	}
	return members
}

// place gives this machine's GPUs to their servers.
func place(states []*source.State, o Options, fresh func(time.Time) bool, members *[]Member) {
	servers := 0
	for _, s := range states {
		if s.Kind == source.Engine {
			servers++
		}
	}
	for _, s := range states {
		if s.Sample == nil || s.Sample.GPUsPlaced || len(s.Sample.GPUs) == 0 || !fresh(s.SampledAt) {
			continue
		}
		rest := Member{Instance: pressure.Instance{Name: o.Node}, At: s.SampledAt, Local: true}
		for _, g := range s.Sample.GPUs {
			m := owner(*members, g, o.GPUs)
			if m == nil && servers == 1 && len(o.GPUs) == 0 {
				m = only(*members)
			}
			if m == nil {
				rest.gpus = append(rest.gpus, measuredGPU{GPU: g.Pressure()})
				continue
			}
			m.gpus = append(m.gpus, measuredGPU{GPU: g.Pressure(), at: s.SampledAt})
		}
		if len(rest.gpus) > 0 {
			*members = append(*members, rest)
		}
	}
}

func owner(members []Member, g gpu.Reading, gpus map[string][]string) *Member {
	for i := range members {
		if members[i].Local && slices.ContainsFunc(gpus[members[i].Name], func(which string) bool {
			return which == strconv.Itoa(g.Index) || which == g.UUID
		}) {
			return &members[i]
		}
	}
	return nil
}

// only is the one local instance, if there is one.
func only(members []Member) *Member {
	var found *Member
	for i := range members {
		if !members[i].Local {
			continue
		}
		if found != nil {
			return nil
		}
		found = &members[i]
	}
	return found
}

// youngest keeps one of each name. Between equally young ones a local one is kept.
func (v *View) youngest(members []Member) []Member {
	best := make(map[string]int, len(members))
	kept := members[:0]
	for _, m := range members {
		at, seen := best[m.Name]
		if !seen {
			best[m.Name] = len(kept)
			kept = append(kept, m)
			continue
		}
		v.Duplicate++
		if m.At.After(kept[at].At) || m.At.Equal(kept[at].At) && m.Local && !kept[at].Local {
			kept[at] = m
		}
	}
	return kept
}

// bound leaves out the fullest. An instance that doesn't tell how full it is counts as full.
func (v *View) bound(members []Member, max int) []Member {
	if len(members) <= max {
		return members
	}
	share := func(m Member) float64 {
		if m.ActiveDecodeBlocks == nil {
			return 2
		}
		return *m.ActiveDecodeBlocks
	}
	slices.SortFunc(members, func(a, b Member) int {
		return cmp.Or(cmp.Compare(share(a), share(b)), cmp.Compare(a.Name, b.Name))
	})
	v.Omitted += len(members) - max
	return members[:max]
}

// Document writes the view, with the ages that it has now.
func (v *View) Document(now time.Time) pressure.Document {
	d := pressure.Document{
		Version: pressure.Version, Time: now.UTC().Truncate(time.Millisecond),
		Instances: make([]pressure.Instance, len(v.Members)), Omitted: v.Omitted,
	}
	for i, m := range v.Members {
		d.Instances[i] = m.Instance
		d.Instances[i].AgeSeconds = pressure.Seconds(now.Sub(m.At))
		for _, g := range m.gpus {
			d.Instances[i].GPUs = append(d.Instances[i].GPUs, g.document(now))
		}
	}
	return d
}

// GPUsOnly says that the instance has no server that tells of its load.
func (m *Member) GPUsOnly() bool {
	return m.ActiveDecodeBlocks == nil && m.ActivePrefillTokens == nil && m.Running == nil && m.Waiting == nil
}
