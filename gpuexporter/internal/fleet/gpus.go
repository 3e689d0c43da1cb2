package fleet

import (
	"slices"
	"strings"
	"time"

	"github.com/spillway-proxy/spillway/gpuexporter/internal/pressure"
	"github.com/spillway-proxy/spillway/gpuexporter/internal/source"
)

// A GPU is told of more than once where two exporters share a machine, or where one beside a server and one for the whole
// machine both measure it. It belongs to one instance then: to one with a server, before a machine's GPUs alone; of several
// such to the first by name that has a recent measurement, so that it doesn't move to and fro with each measurement. Its
// numbers are the youngest that anybody has.

// steady is how much older than the youngest measurement another one may be and still keep the GPU.
const steady = 10 * time.Second

// measuredGPU is a GPU, with when it was measured, if that was apart from its instance.
type measuredGPU struct {
	pressure.GPU
	at time.Time
}

// take takes an instance's GPUs. The instance shares them with others who read it, so they are copied.
func (m *Member) take(i source.Instance) {
	m.GPUs = nil
	for _, g := range i.GPUs {
		m.gpus = append(m.gpus, measuredGPU{GPU: g, at: i.GPUsAt})
	}
}

func (g measuredGPU) document(now time.Time) pressure.GPU {
	if !g.at.IsZero() {
		age := pressure.Seconds(now.Sub(g.at))
		g.AgeSeconds = &age
	}
	return g.GPU
}

// teller is an instance that tells of a GPU, and the GPU's place in it.
type teller struct {
	member *Member
	gpu    int
}

func (t teller) measured() time.Time {
	if at := t.member.gpus[t.gpu].at; !at.IsZero() {
		return at
	}
	return t.member.At
}

// tellGPUsOnce leaves every GPU to one instance. A machine without GPUs then is no instance any more.
func (v *View) tellGPUsOnce(members []Member) []Member {
	tellers := map[string][]teller{}
	for i := range members {
		for g := range members[i].gpus {
			if uuid := members[i].gpus[g].UUID; !strings.HasPrefix(uuid, pressure.UnknownGPU) {
				tellers[uuid] = append(tellers[uuid], teller{&members[i], g})
			}
		}
	}
	before := v.DuplicateGPUs
	for _, all := range tellers {
		if len(all) > 1 {
			v.DuplicateGPUs += len(all) - 1
			settle(all)
		}
	}
	if v.DuplicateGPUs == before {
		return members
	}
	kept := members[:0]
	for _, m := range members {
		had := len(m.gpus)
		m.gpus = slices.DeleteFunc(m.gpus, func(g measuredGPU) bool { return g.UUID == "" })
		if had == 0 || len(m.gpus) > 0 || !m.GPUsOnly() {
			kept = append(kept, m)
		}
	}
	return kept
}

// settle gives a GPU to one of those that tell of it, and takes its name at the others.
func settle(all []teller) {
	youngest, owner := all[0], all[0]
	for _, t := range all {
		if t.measured().After(youngest.measured()) {
			youngest = t
		}
	}
	for _, t := range all {
		if t.before(owner, youngest.measured().Add(-steady)) {
			owner = t
		}
	}
	measured := owner.member.gpus[owner.gpu]
	if youngest.measured().After(owner.measured()) {
		measured = measuredGPU{GPU: youngest.member.gpus[youngest.gpu].GPU, at: youngest.measured()}
	}
	for _, t := range all {
		t.member.gpus[t.gpu].UUID = ""
	}
	owner.member.gpus[owner.gpu] = measured
}

// before says whether a GPU is rather t's than u's.
func (t teller) before(u teller, recent time.Time) bool {
	if a, b := t.member.GPUsOnly(), u.member.GPUsOnly(); a != b {
		return b
	}
	if a, b := t.measured().Before(recent), u.measured().Before(recent); a != b {
		return b
	}
	return t.member.Name < u.member.Name
}
