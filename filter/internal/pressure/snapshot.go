// Package pressure knows how full the inference engines and GPUs behind an upstream are, and who is refused for it.
//
// An exporter says it in JSON (GET /v1/pressure). One worker at a time fetches that: whose turn it is, is decided by a
// compare-and-swap of a small record in the store, the next interval by whoever looks at it first. What was fetched goes
// into a second record that all workers read when the first one says that it has changed (monitor.go).
//
// # Who is refused
//
// An instance is busy when the share of its KV-cache blocks in use by decoding, or the tokens it is prefilling, is above the
// threshold (NVIDIA Dynamo's busy rule), or the memory of a GPU of its is above its own threshold. A request is refused when
// every instance is busy. For lower priorities the first two thresholds are multiplied by their ceiling, so that they are
// refused first; memory is not, since engines take a fixed share of it from the start. An instance that reports no blocks
// and no tokens is not asked while others do.
//
// # The worst moments
//
// The exporter is gone, slow, or answers garbage: nothing is written, what is known gets older, and once it is older than
// it may be, the configuration says what counts: nothing, the last that was known, or that all are busy. The exporter lies: a
// value that can't be (negative, a share above one, another type) is absent, and counted. It sends too much: what is beyond
// MostInstances is left out and counted. Ages come from the exporter and are added to the time since the fetch; its clock
// is not asked. The worker that was to fetch dies: another one does in the next interval.
package pressure

import (
	"errors"
	"math"
	"strconv"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/jsonscan"
)

// MostInstances is how many instances are looked at.
const MostInstances = 1024

// MostBytes is the largest answer of an exporter that is read.
const MostBytes = 2 << 20

// mostTokens is more than any engine prefills: what is above it is no measurement.
const mostTokens = 1 << 53

// mostRequests is more than any engine is asked for.
const mostRequests = 1 << 30

// oldest is the age of a measurement of long ago, however long.
const oldest = 1_000_000_000 * time.Second

// Absent stands for what was not measured.
const Absent = -1

// Instance is one inference engine, or a node without one.
type Instance struct {
	Decode  float64       // share of KV-cache blocks in use by decoding, 0 to 1
	Prefill int64         // tokens being prefilled
	Memory  float64       // share of the memory in use of its fullest GPU, 0 to 1
	Running int64         // requests that it serves
	Waiting int64         // requests that wait there
	Age     time.Duration // how old the measurement was when it was fetched
}

// Snapshot is what an exporter has said.
type Snapshot struct {
	Instances []Instance
	Ignored   int // instances beyond MostInstances
	Wrong     int // values that can't be
}

// Parse reads an exporter's answer.
func Parse(body []byte) (Snapshot, error) {
	if len(body) > MostBytes {
		return Snapshot{}, errors.New("larger than " + strconv.Itoa(MostBytes) + " bytes")
	}
	p := parser{used: Absent, total: Absent}
	var s jsonscan.Scanner
	s.Reset(paths, &p)
	s.Write(body)
	if !s.Close() {
		return Snapshot{}, errors.New("not JSON")
	}
	switch {
	case p.version != 1:
		return Snapshot{}, errors.New("not of version 1")
	case !p.listed:
		return Snapshot{}, errors.New("without instances")
	}
	p.endInstance()
	return p.snapshot, nil
}

const (
	idVersion = iota + 1
	idInstances
	idInstance
	idDecode
	idPrefill
	idRunning
	idWaiting
	idAge
	idGPU
	idUsed
	idTotal
)

var paths = jsonscan.Compile(
	jsonscan.Path{ID: idVersion, Path: "version"},
	jsonscan.Path{ID: idInstances, Path: "instances"},
	jsonscan.Path{ID: idInstance, Path: "instances.*"},
	jsonscan.Path{ID: idDecode, Path: "instances.*.activeDecodeBlocks"},
	jsonscan.Path{ID: idPrefill, Path: "instances.*.activePrefillTokens"},
	jsonscan.Path{ID: idRunning, Path: "instances.*.running"},
	jsonscan.Path{ID: idWaiting, Path: "instances.*.waiting"},
	jsonscan.Path{ID: idAge, Path: "instances.*.ageSeconds"},
	jsonscan.Path{ID: idGPU, Path: "instances.*.gpus.*"},
	jsonscan.Path{ID: idUsed, Path: "instances.*.gpus.*.memoryUsedBytes"},
	jsonscan.Path{ID: idTotal, Path: "instances.*.gpus.*.memoryTotalBytes"},
)

// parser collects a snapshot.
type parser struct {
	snapshot    Snapshot
	version     float64
	listed      bool
	open        bool // an instance is being read
	instance    Instance
	used, total float64 // of the GPU that is being read; Absent: it doesn't say
}

func (p *parser) Begin(id int, kind jsonscan.Kind) {
	switch {
	case id == idInstances && kind == jsonscan.Array:
		p.snapshot, p.listed, p.open = Snapshot{}, true, false // of repeated lists the last one counts
	case id == idInstance && kind == jsonscan.Object:
		p.endInstance()
		p.open = true
		p.instance = Instance{Decode: Absent, Prefill: Absent, Memory: Absent, Running: Absent, Waiting: Absent}
	case id == idGPU && kind == jsonscan.Object:
		p.endGPU()
	case id != idInstances && id != idInstance && id != idGPU:
		p.snapshot.Wrong++ // a list or an object for a number
	}
}

func (p *parser) Value(id int, kind jsonscan.Kind, text []byte, _ int) {
	if kind == jsonscan.Null {
		return
	}
	n, err := strconv.ParseFloat(string(text), 64)
	if kind != jsonscan.Number || id == idInstances || id == idInstance || id == idGPU || err != nil || n < 0 || math.IsInf(n, 0) {
		p.snapshot.Wrong++
		return
	}
	switch id {
	case idVersion:
		p.version = n
	case idDecode:
		p.instance.Decode = p.share(n)
	case idPrefill:
		p.instance.Prefill = p.count(n, mostTokens)
	case idRunning:
		p.instance.Running = p.count(n, mostRequests)
	case idWaiting:
		p.instance.Waiting = p.count(n, mostRequests)
	case idAge:
		p.instance.Age = min(time.Duration(min(n, 1e9)*float64(time.Second)), oldest)
	case idUsed:
		p.used = n
	case idTotal:
		p.total = n
	}
}

// share takes what has to lie between 0 and 1.
func (p *parser) share(n float64) float64 {
	if n > 1 {
		p.snapshot.Wrong++
		return Absent
	}
	return n
}

// count takes what can't be more than so much.
func (p *parser) count(n, most float64) int64 {
	if n > most {
		p.snapshot.Wrong++
		return Absent
	}
	return int64(n)
}

// endGPU takes a GPU of which both is known: an absent use is not an unused GPU.
func (p *parser) endGPU() {
	if p.used != Absent && p.total > 0 {
		p.instance.Memory = max(p.instance.Memory, p.share(p.used/p.total))
	}
	p.used, p.total = Absent, Absent
}

func (p *parser) endInstance() {
	if !p.open {
		return
	}
	p.endGPU()
	p.open = false
	if len(p.snapshot.Instances) == MostInstances {
		p.snapshot.Ignored++
		return
	}
	p.snapshot.Instances = append(p.snapshot.Instances, p.instance)
}
