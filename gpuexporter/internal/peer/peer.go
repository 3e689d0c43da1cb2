// Package peer reads what other exporters measured, so that one address can speak for a fleet.
//
// Ages are kept and added: an instance is as old as its exporter said, plus the time since that was asked. Clocks of
// different machines are never compared. So a copy of a copy is always older than the original, whatever way it took, and
// where exporters read each other in a circle, what nobody measures any more grows old and is left out (package fleet).
package peer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spillway-proxy/spillway/gpuexporter/internal/fetch"
	"github.com/spillway-proxy/spillway/gpuexporter/internal/pressure"
	"github.com/spillway-proxy/spillway/gpuexporter/internal/source"
)

// Bounds of one peer source.
const (
	// MaxBody bounds a document: 1,000 instances with eight GPUs each have 1.4 MB. MaxBodies bounds those of all addresses
	// of a name: where there are many, each has its share, but minBody at least. An exporter beside a server, or on a
	// machine, needs 3 KB.
	MaxBody   = 16 << 20
	MaxBodies = 64 << 20
	minBody   = 32 << 10
	// MaxAddresses bounds the addresses that a name may have.
	MaxAddresses = 4096
	// parallel bounds the requests at one time. Addresses that don't answer hold a place until the deadline.
	parallel = 256
	// maxAge is the highest age that is believed, which keeps durations from overflowing.
	maxAge = 365 * 24 * time.Hour
)

// IDHeader carries an exporter's identity, by which it recognises itself among its peers.
const IDHeader = "Gpuexporter-Id"

// Options are what all peer sources of an exporter have in common.
type Options struct {
	Client *http.Client
	Now    func() time.Time
	// Self is this exporter's own identity.
	Self string
	// Resolve gives the addresses of a host.
	Resolve func(ctx context.Context, host string) ([]string, error)
	// Forget is how long an address that doesn't answer is still spoken for by its last answer.
	Forget time.Duration
	// MaxInstances bounds the instances of one document.
	MaxInstances int
}

// Source reads one address, or all addresses of a name.
type Source struct {
	Options
	url *url.URL
	// last is the last answer of each address.
	last map[string]seen
}

type seen struct {
	at        time.Time
	instances []source.Instance
	omitted   int
	self      bool
}

// New makes a source for http://host:port or dns+http://host:port. Of the latter, the host's addresses are looked up for
// each round, and each is asked.
func New(u *url.URL, o Options) *Source {
	return &Source{Options: o, url: u, last: map[string]seen{}}
}

// Sample asks every address. It fails only if none answers.
func (s *Source) Sample(ctx context.Context) (source.Sample, error) {
	targets, err := s.targets(ctx)
	if err != nil {
		return source.Sample{}, err
	}
	answers := s.askAll(ctx, targets)
	sample := source.Sample{Targets: len(targets), Notes: map[string]int{}}
	var errs []error
	for i, target := range targets {
		if answers[i].err == nil {
			s.last[target] = answers[i].seen
			continue
		}
		sample.Failed++
		if len(errs) < 3 {
			errs = append(errs, answers[i].err)
		}
	}
	if sample.Failed == len(targets) {
		return source.Sample{}, fmt.Errorf("none of %d addresses answers: %w", len(targets), errors.Join(errs...))
	}
	s.forget(targets)
	for _, seen := range s.last {
		sample.Instances = append(sample.Instances, seen.instances...)
		sample.Notes["omitted"] += seen.omitted
		if seen.self {
			sample.Notes["self"]++
		}
	}
	return sample, nil
}

// forget drops the answers of addresses that are gone, and of those that have been silent for long.
func (s *Source) forget(targets []string) {
	now := s.Now()
	for target, seen := range s.last {
		if !slices.Contains(targets, target) || now.Sub(seen.at) > s.Forget {
			delete(s.last, target)
		}
	}
}

// targets are the URLs to ask this time.
func (s *Source) targets(ctx context.Context) ([]string, error) {
	scheme, many := strings.CutPrefix(s.url.Scheme, "dns+")
	u := *s.url
	u.Scheme = scheme
	if !many {
		return []string{u.String()}, nil
	}
	addresses, err := s.Resolve(ctx, u.Hostname())
	if err != nil {
		return nil, fmt.Errorf("looking up %q: %w", u.Hostname(), err)
	}
	slices.Sort(addresses)
	addresses = slices.Compact(addresses)
	if len(addresses) == 0 {
		return nil, fmt.Errorf("looking up %q: no addresses", u.Hostname())
	}
	if len(addresses) > MaxAddresses {
		return nil, fmt.Errorf("%q has %d addresses: at most %d are asked", u.Hostname(), len(addresses), MaxAddresses)
	}
	targets := make([]string, len(addresses))
	for i, address := range addresses {
		u.Host = net.JoinHostPort(address, portOf(s.url, scheme))
		targets[i] = u.String()
	}
	return targets, nil
}

func portOf(u *url.URL, scheme string) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case scheme == "https":
		return "443"
	}
	return "80"
}

type answer struct {
	seen seen
	err  error
}

func (s *Source) askAll(ctx context.Context, targets []string) []answer {
	answers := make([]answer, len(targets))
	most := int64(min(max(MaxBodies/len(targets), minBody), MaxBody))
	places := make(chan struct{}, parallel)
	var running sync.WaitGroup
	for i, target := range targets {
		places <- struct{}{}
		running.Go(func() {
			defer func() { <-places }()
			answers[i].seen, answers[i].err = s.ask(ctx, target, most)
		})
	}
	running.Wait()
	return answers
}

// ask reads one exporter. Its ages are counted from when it was asked, which is never later than when it wrote them.
func (s *Source) ask(ctx context.Context, target string, most int64) (seen, error) {
	asked := s.Now()
	a, err := fetch.Get(ctx, s.Client, target, nil, most)
	if err != nil {
		return seen{}, err
	}
	if id := a.Header.Get(IDHeader); id != "" && id == s.Self {
		return seen{at: asked, self: true}, nil
	}
	d, err := pressure.Decode(a.Body, s.MaxInstances)
	if err != nil {
		return seen{}, err
	}
	got := seen{at: asked, omitted: d.Omitted}
	for _, i := range d.Instances {
		got.instances = append(got.instances, source.Instance{Instance: i, At: before(asked, i.AgeSeconds), GPUsAt: gpusAt(asked, i.GPUs)})
	}
	return got, nil
}

func before(asked time.Time, age float64) time.Time {
	return asked.Add(-time.Duration(min(age, maxAge.Seconds()) * float64(time.Second)))
}

// gpusAt is when the GPUs were measured, if their exporter says that: one source measures all of them, so they are as old as
// the oldest.
func gpusAt(asked time.Time, gpus []pressure.GPU) (at time.Time) {
	oldest := -1.0
	for _, g := range gpus {
		if g.AgeSeconds != nil {
			oldest = max(oldest, *g.AgeSeconds)
		}
	}
	if oldest >= 0 {
		at = before(asked, oldest)
	}
	return at
}

// LookupHost looks a host up with the system's resolver.
func LookupHost(ctx context.Context, host string) ([]string, error) {
	return net.DefaultResolver.LookupHost(ctx, host)
}
