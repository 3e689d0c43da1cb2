// Package pressure is the document of GET /v1/pressure: what an exporter says to the filter and to other exporters.
//
// A measurement that nobody made is absent, which is not the same as 0: a server without a count of waiting requests
// isn't an idle one.
package pressure

import (
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

// Decode reads another exporter's document. A body of the wrong form is an error. A value that can't be (negative, not a
// number, beyond any machine) is dropped, and so are instances without a usable name or age and those beyond max: one
// broken neighbour must not hide the others.
func Decode(body []byte, max int) (Document, error) {
	var d Document
	if err := json.Unmarshal(body, &d); err != nil {
		return Document{}, fmt.Errorf("not a pressure document: %w", err)
	}
	if d.Version != Version {
		return Document{}, fmt.Errorf("a pressure document of version %d: want %d", d.Version, Version)
	}
	if d.Instances == nil {
		return Document{}, errors.New("not a pressure document: it has no list of instances")
	}
	kept := d.Instances[:0]
	for _, i := range d.Instances {
		if len(kept) == max {
			break
		}
		if ValidName(i.Name) && finite(i.AgeSeconds) && i.AgeSeconds >= 0 {
			i.clean()
			kept = append(kept, i)
		}
	}
	d.Omitted = maxZero(d.Omitted) + len(d.Instances) - len(kept)
	d.Instances = kept
	return d, nil
}

func maxZero(n int) int {
	return min(max(n, 0), maxCount)
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
	kept := i.GPUs[:0]
	for _, g := range i.GPUs {
		if ValidName(g.UUID) && len(kept) < MaxGPUs {
			g.clean()
			kept = append(kept, g)
		}
	}
	i.GPUs = kept
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
