// Package pressure is the document of GET /v1/pressure: what an exporter says to the filter and to other exporters.
//
// A measurement that nobody made is absent, which is not the same as 0: a server without a count of waiting requests
// isn't an idle one.
package pressure

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Version is the version of the document. A reader refuses others; members that it doesn't know it skips.
const Version = 1

// MaxName bounds the name of an instance and the UUID of a GPU, in bytes.
const MaxName = 256

// MaxGPUs bounds the GPUs of one instance.
const MaxGPUs = 256

// UnknownGPU begins the UUID of a GPU that never said which one it is. Such names are given anew by each machine, so two of
// them with one name are two GPUs.
const UnknownGPU = "unknown-"

// maxCount bounds counts of requests and tokens. JSON's readers keep integers exactly up to 2⁵³.
const maxCount = 1 << 53

// Document is the whole answer.
type Document struct {
	Version int `json:"version"`
	// Time is when the document was written. Ages count back from it.
	Time      time.Time  `json:"time"`
	Instances []Instance `json:"instances"`
	// Omitted counts the instances that the exporter's bound left out.
	Omitted int `json:"omitted,omitempty"`
}

// Instance is an inference server with its GPUs, or a machine's GPUs alone.
type Instance struct {
	Name string `json:"name"`
	GPUs []GPU  `json:"gpus,omitempty"`
	// ActiveDecodeBlocks is the share of the KV cache in use, 0 to 1.
	ActiveDecodeBlocks *float64 `json:"activeDecodeBlocks,omitempty"`
	// ActivePrefillTokens counts prompt tokens that are being processed or wait for it.
	ActivePrefillTokens *int64 `json:"activePrefillTokens,omitempty"`
	// Running and Waiting count requests.
	Running *int64 `json:"running,omitempty"`
	Waiting *int64 `json:"waiting,omitempty"`
	// AgeSeconds is how long ago, at the document's time, this was measured.
	AgeSeconds float64 `json:"ageSeconds"`
}

// GPU is one GPU of an instance.
type GPU struct {
	UUID             string  `json:"uuid"`
	MemoryUsedBytes  *uint64 `json:"memoryUsedBytes,omitempty"`
	MemoryTotalBytes *uint64 `json:"memoryTotalBytes,omitempty"`
	// Utilization is the share of the last sample period in which the GPU was busy, 0 to 1.
	Utilization *float64 `json:"utilization,omitempty"`
	// Throttled says that the GPU's clocks are held down by heat or by a lack of power.
	Throttled *bool `json:"throttled,omitempty"`
	// Lost says that the GPU doesn't answer its driver any more.
	Lost bool `json:"lost,omitempty"`
	// AgeSeconds is given where the GPU is measured apart from its instance, whose own age is that of the server's numbers.
	AgeSeconds *float64 `json:"ageSeconds,omitempty"`
}

// maxListed bounds how many elements of a list are looked at: more is no fleet, but somebody who wastes our time.
const maxListed = 100_000

// Decode reads another exporter's document. A body of the wrong form is an error. A value that can't be (negative, beyond any
// machine) is dropped. An instance that can't be read, has no usable name or age, or is beyond max is left out and counted,
// and so is such a GPU of it, uncounted: one broken neighbour must not hide the others. What is left out needs no memory.
func Decode(body []byte, max int) (Document, error) {
	var read struct {
		Version   int             `json:"version"`
		Instances json.RawMessage `json:"instances"`
		Omitted   any             `json:"omitted"`
	}
	if err := json.Unmarshal(body, &read); err != nil {
		return Document{}, fmt.Errorf("not a pressure document: %w", err)
	}
	if read.Version != Version {
		return Document{}, fmt.Errorf("a pressure document of version %d: want %d", read.Version, Version)
	}
	d := Document{Version: Version, Instances: []Instance{}}
	listed, err := each(read.Instances, func(element json.RawMessage) {
		if len(d.Instances) == max {
			return
		}
		if i, ok := decodeInstance(element); ok {
			d.Instances = append(d.Instances, i)
		}
	})
	if err != nil {
		return Document{}, fmt.Errorf("not a pressure document: its instances: %w", err)
	}
	d.Omitted = listed - len(d.Instances)
	if omitted, ok := read.Omitted.(float64); ok && omitted > 0 {
		d.Omitted = int(min(omitted+float64(d.Omitted), maxCount))
	}
	return d, nil
}

// each gives a list's elements one after the other. They share their memory.
func each(list json.RawMessage, use func(element json.RawMessage)) (listed int, err error) {
	d := json.NewDecoder(bytes.NewReader(list))
	if begin, err := d.Token(); err != nil || begin != json.Delim('[') {
		return 0, errors.New("want a list")
	}
	var element json.RawMessage
	for ; d.More(); listed++ {
		if listed == maxListed {
			return 0, fmt.Errorf("a list of more than %d", maxListed)
		}
		if err := d.Decode(&element); err != nil {
			return 0, err
		}
		use(element)
	}
	return listed, nil
}

func decodeInstance(text json.RawMessage) (Instance, bool) {
	var read struct {
		Instance
		GPUs json.RawMessage `json:"gpus"` // instead of the instance's own
	}
	if err := json.Unmarshal(text, &read); err != nil {
		return Instance{}, false
	}
	i := read.Instance
	if !ValidName(i.Name) || !finite(i.AgeSeconds) || i.AgeSeconds < 0 {
		return Instance{}, false
	}
	i.clean()
	seen := map[string]bool{}
	_, _ = each(read.GPUs, func(element json.RawMessage) { // what isn't a list of GPUs tells of none
		var g GPU
		if len(i.GPUs) == MaxGPUs || json.Unmarshal(element, &g) != nil || !ValidName(g.UUID) || seen[g.UUID] {
			return
		}
		seen[g.UUID] = true
		g.clean()
		i.GPUs = append(i.GPUs, g)
	})
	return i, true
}

// ValidName says whether a name can be shown anywhere: not empty, not endless, and without control characters.
func ValidName(name string) bool {
	return name != "" && len(name) <= MaxName && utf8.ValidString(name) && !strings.ContainsFunc(name, unicode.IsControl)
}

func (i *Instance) clean() {
	if i.ActiveDecodeBlocks != nil {
		i.ActiveDecodeBlocks = Share(*i.ActiveDecodeBlocks)
	}
	for _, count := range []**int64{&i.ActivePrefillTokens, &i.Running, &i.Waiting} {
		if *count != nil && (**count < 0 || **count > maxCount) {
			*count = nil
		}
	}
}

func (g *GPU) clean() {
	if g.Utilization != nil {
		g.Utilization = Share(*g.Utilization)
	}
	if g.MemoryTotalBytes != nil && (*g.MemoryTotalBytes == 0 || *g.MemoryTotalBytes > maxCount) {
		g.MemoryTotalBytes = nil
	}
	if g.MemoryUsedBytes != nil && *g.MemoryUsedBytes > maxCount {
		g.MemoryUsedBytes = nil
	}
	if g.AgeSeconds != nil && (!finite(*g.AgeSeconds) || *g.AgeSeconds < 0) {
		g.AgeSeconds = nil
	}
}

// Share makes a share of a measured value: nil when it can't be one, 1 when it is beyond 1 (servers count the blocks of
// requests that they are about to evict), and four digits after the point, to keep documents small.
func Share(value float64) *float64 {
	if !finite(value) || value < 0 {
		return nil
	}
	rounded := math.Round(min(value, 1)*1e4) / 1e4
	return &rounded
}

// Count makes a count of a measured value, or nil when it can't be one.
func Count(value float64) *int64 {
	if !finite(value) || value < 0 || value > maxCount {
		return nil
	}
	n := int64(math.Round(value))
	return &n
}

// Seconds writes an age, with three digits after the point. Ages are never negative.
func Seconds(age time.Duration) float64 {
	return math.Round(max(age, 0).Seconds()*1e3) / 1e3
}

func finite(value float64) bool {
	return !math.IsNaN(value) && !math.IsInf(value, 0)
}
