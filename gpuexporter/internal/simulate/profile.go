package simulate

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/spillway-proxy/spillway/gpuexporter/internal/pressure"
)

//go:embed profiles/*.yaml
var builtin embed.FS

// Names are the built-in profiles.
func Names() []string {
	files, err := fs.Glob(builtin, "profiles/*.yaml")
	if err != nil {
		return nil
	}
	for i, file := range files {
		files[i] = strings.TrimSuffix(strings.TrimPrefix(file, "profiles/"), ".yaml")
	}
	return files
}

// Bounds of a profile.
const (
	maxCount = 10000
	maxGPUs  = 16
	maxName  = 100
)

// Profile says what to simulate.
type Profile struct {
	// Repeat starts the course anew after this time; 0 lets it stay at its end.
	Repeat duration `json:"repeat,omitempty"`
	// Silent are the times at which nothing answers.
	Silent    []span     `json:"silent,omitempty"`
	Instances []instance `json:"instances"`
}

type span struct {
	From duration `json:"from"`
	To   duration `json:"to"`
}

type instance struct {
	Name string `json:"name"`
	// Count makes several: name-0, name-1 and so on. Each is Stagger behind the one before it.
	Count               int      `json:"count,omitempty"`
	Stagger             duration `json:"stagger,omitempty"`
	ActiveDecodeBlocks  curve    `json:"activeDecodeBlocks,omitempty"`
	ActivePrefillTokens curve    `json:"activePrefillTokens,omitempty"`
	Running             curve    `json:"running,omitempty"`
	Waiting             curve    `json:"waiting,omitempty"`
	GPUs                gpus     `json:"gpus,omitzero"`
}

type gpus struct {
	Count            int    `json:"count"`
	MemoryTotalBytes uint64 `json:"memoryTotalBytes"`
	// MemoryUsed and Utilization are shares; Throttled is true where it is above 0.
	MemoryUsed  curve `json:"memoryUsed,omitempty"`
	Utilization curve `json:"utilization,omitempty"`
	Throttled   curve `json:"throttled,omitempty"`
}

// curve is a value over time: straight lines between points. Two points at one time are a step. Without points there is
// no value.
type curve []point

type point struct {
	At    duration `json:"at"`
	Value float64  `json:"value"`
}

// UnmarshalJSON accepts a number, which never changes, or a list of points.
func (c *curve) UnmarshalJSON(text []byte) error {
	var value float64
	if json.Unmarshal(text, &value) == nil {
		*c = curve{{Value: value}}
		return nil
	}
	var points []point
	if err := json.Unmarshal(text, &points); err != nil {
		return fmt.Errorf("a course is a number, or a list such as [{at: 0s, value: 0.5}, {at: 60s, value: 1}]: %w", err)
	}
	*c = points
	return nil
}

// at is the curve's value, nil if it has none.
func (c curve) at(t time.Duration) *float64 {
	if len(c) == 0 {
		return nil
	}
	// The first point that lies after t: of two points at one time, the second one counts from then on.
	next := slices.IndexFunc(c, func(p point) bool { return time.Duration(p.At) > t })
	switch next {
	case 0:
		return &c[0].Value
	case -1:
		return &c[len(c)-1].Value
	}
	a, b := c[next-1], c[next]
	v := a.Value + (b.Value-a.Value)*float64(t-time.Duration(a.At))/float64(b.At-a.At)
	return &v
}

// duration is written as "90s" or "1m30s".
type duration time.Duration

// UnmarshalJSON reads a duration's text form.
func (d *duration) UnmarshalJSON(text []byte) error {
	var s string
	if err := json.Unmarshal(text, &s); err != nil {
		return fmt.Errorf("%s is not a duration such as 90s", text)
	}
	parsed, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf("%q is not a duration such as 90s", s)
	}
	*d = duration(parsed)
	return nil
}

// Load gives a built-in profile by its name, or else reads the file.
func Load(nameOrFile string, readFile func(string) ([]byte, error)) (*Profile, error) {
	text, err := builtin.ReadFile("profiles/" + nameOrFile + ".yaml")
	if err != nil {
		if text, err = readFile(nameOrFile); err != nil {
			return nil, fmt.Errorf("profile %q is neither built in (%s) nor a file that can be read: %w",
				nameOrFile, strings.Join(Names(), ", "), err)
		}
	}
	p, err := Parse(text)
	if err != nil {
		return nil, fmt.Errorf("profile %q: %w", nameOrFile, err)
	}
	return p, nil
}

// Parse reads a profile, and says all that is wrong with its values.
func Parse(text []byte) (*Profile, error) {
	var p Profile
	if err := yaml.UnmarshalStrict(text, &p); err != nil {
		return nil, err
	}
	var errs []error
	complain := func(format string, values ...any) { errs = append(errs, fmt.Errorf(format, values...)) }
	if len(p.Instances) == 0 {
		complain("instances: want at least one")
	}
	if p.Repeat < 0 {
		complain("repeat: want a time that is not negative")
	}
	for i, s := range p.Silent {
		if s.From < 0 || s.To <= s.From {
			complain("silent[%d]: want a to that is after from", i)
		}
	}
	total := 0
	names := map[string]bool{}
	for i := range p.Instances {
		in := &p.Instances[i]
		in.check(fmt.Sprintf("instances[%d]", i), complain)
		if names[in.Name] {
			complain("instances[%d].name: %q is used twice", i, in.Name)
		}
		names[in.Name] = true
		total += max(in.Count, 1)
	}
	if total > maxCount {
		complain("instances: %d in all, want at most %d", total, maxCount)
	}
	return &p, errors.Join(errs...)
}

func (in *instance) check(path string, complain func(string, ...any)) {
	if !pressure.ValidName(in.Name) || len(in.Name) > maxName {
		complain("%s.name: want 1 to %d characters", path, maxName)
	}
	if in.Count < 0 || in.Count > maxCount {
		complain("%s.count: %d, want 0 to %d", path, in.Count, maxCount)
		in.Count = 0
	}
	if in.GPUs.Count < 0 || in.GPUs.Count > maxGPUs {
		complain("%s.gpus.count: %d, want 0 to %d", path, in.GPUs.Count, maxGPUs)
	}
	if in.GPUs.MemoryTotalBytes > 1<<50 {
		complain("%s.gpus.memoryTotalBytes: want at most %d", path, uint64(1<<50))
	}
	shares := map[string]curve{
		"activeDecodeBlocks": in.ActiveDecodeBlocks, "gpus.memoryUsed": in.GPUs.MemoryUsed,
		"gpus.utilization": in.GPUs.Utilization, "gpus.throttled": in.GPUs.Throttled,
	}
	counts := map[string]curve{
		"activePrefillTokens": in.ActivePrefillTokens, "running": in.Running, "waiting": in.Waiting,
	}
	for name, c := range shares {
		c.check(path+"."+name, 1, complain)
	}
	for name, c := range counts {
		c.check(path+"."+name, 1e12, complain)
	}
}

func (c curve) check(path string, most float64, complain func(string, ...any)) {
	for i, p := range c {
		if math.IsNaN(p.Value) || p.Value < 0 || p.Value > most {
			complain("%s: value %v, want 0 to %v", path, p.Value, most)
		}
		if p.At < 0 || i > 0 && p.At < c[i-1].At {
			complain("%s: want times that rise from 0s", path)
		}
	}
}
