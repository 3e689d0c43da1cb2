package simulate

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/gpuexporter/internal/pressure"
)

func TestBuiltInProfiles(t *testing.T) {
	if got := strings.Join(Names(), " "); got != "oom ramp saw steady" {
		t.Errorf("names %s", got)
	}
	for _, name := range Names() {
		p, err := Load(name, os.ReadFile)
		if err != nil {
			t.Fatal(err)
		}
		now := time.Unix(0, 0)
		s := New(p, "node", func() time.Time { return now })
		for range 300 {
			now = now.Add(time.Second)
			sample, err := s.Sample(t.Context())
			if err != nil && !errors.Is(err, errSilent) {
				t.Fatal(err)
			}
			for _, i := range sample.Instances {
				if !pressure.ValidName(i.Name) || i.ActiveDecodeBlocks == nil || len(i.GPUs) == 0 || *i.GPUs[0].MemoryUsedBytes > *i.GPUs[0].MemoryTotalBytes {
					t.Errorf("%s: %+v", name, i)
				}
			}
		}
	}
}

func TestACourse(t *testing.T) {
	p, err := Parse([]byte(`
repeat: 100s
silent: [{from: 90s, to: 95s}]
instances:
  - name: i
    count: 2
    stagger: 10s
    activeDecodeBlocks: [{at: 0s, value: 0.5}, {at: 60s, value: 1}, {at: 60s, value: 0.2}]
    waiting: 3
`))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(0, 0)
	s := New(p, "n", func() time.Time { return now })
	for _, test := range []struct {
		after         time.Duration
		first, second float64
	}{
		{0, 0.5, 0.5},
		{30 * time.Second, 0.75, 0.6667},
		{60*time.Second - time.Nanosecond, 1, 0.9167},
		{60 * time.Second, 0.2, 0.9167},
		{99 * time.Second, 0.2, 0.2},
		{100 * time.Second, 0.5, 0.2},
		{130 * time.Second, 0.75, 0.6667},
	} {
		now = time.Unix(0, 0).Add(test.after)
		sample, err := s.Sample(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		a, b := sample.Instances[0], sample.Instances[1]
		if a.Name != "n/i-0" || b.Name != "n/i-1" || *a.Waiting != 3 || a.Running != nil {
			t.Errorf("%+v %+v", a, b)
		}
		if *a.ActiveDecodeBlocks != test.first || *b.ActiveDecodeBlocks != test.second {
			t.Errorf("after %v: %v and %v, want %v and %v", test.after, *a.ActiveDecodeBlocks, *b.ActiveDecodeBlocks, test.first, test.second)
		}
	}
	for at, silent := range map[time.Duration]bool{ // from and up to, in every round
		90*time.Second - 1: false, 90 * time.Second: true, 95*time.Second - 1: true, 95 * time.Second: false, 290 * time.Second: true,
	} {
		now = time.Unix(0, 0).Add(at)
		if _, err := s.Sample(t.Context()); errors.Is(err, errSilent) != silent {
			t.Errorf("after %v: %v, want silent %v", at, err, silent)
		}
	}
	now = time.Unix(192, 0)
	if _, err := s.Sample(t.Context()); !errors.Is(err, errSilent) {
		t.Errorf("error %v", err)
	}
}

// At any time a server of this profile is free: with it, nobody is refused because all are busy.
func TestTheSawAlwaysHasAFreeServer(t *testing.T) {
	p, err := Load("saw", os.ReadFile)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(0, 0)
	s := New(p, "n", func() time.Time { return now })
	for range 1000 {
		now = now.Add(100 * time.Millisecond)
		sample, err := s.Sample(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		least := 1.0
		for _, i := range sample.Instances {
			least = min(least, *i.ActiveDecodeBlocks)
		}
		if least > 0.5 {
			t.Fatalf("%v into it the emptiest is at %v", now.Sub(time.Unix(0, 0)), least)
		}
	}
}

func TestAllMistakesOfAProfileAreTold(t *testing.T) {
	_, err := Parse([]byte(`
repeat: -1s
silent: [{from: 5s, to: 5s}]
instances:
  - {name: "", activeDecodeBlocks: 1.5, gpus: {count: 99, memoryTotalBytes: 1}}
  - {name: a, running: [{at: 5s, value: 1}, {at: 4s, value: -1}]}
  - {name: a, count: -1}
`))
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"repeat:", "silent[0]:", "instances[0].name:", "instances[0].activeDecodeBlocks: value 1.5", "instances[0].gpus.count: 99",
		"instances[1].running: value -1", "instances[1].running: want times", `instances[2].name: "a" is used twice`, "instances[2].count: -1",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("nothing of %q in:\n%v", want, err)
		}
	}
	for _, text := range []string{"instances: 3", "instance: []", "instances: []", "repeat: 5\ninstances: [{name: a}]", "instances: [{name: a, running: fast}]"} {
		if _, err := Parse([]byte(text)); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
	if _, err := Load("nowhere", os.ReadFile); err == nil || !strings.Contains(err.Error(), "oom, ramp, saw, steady") {
		t.Errorf("error %v", err)
	}
}

func TestTheREADMEsProfile(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "```yaml\n")
	profile, _, ok := strings.Cut(rest, "```\n")
	if !ok {
		t.Fatal("there is none")
	}
	if p, err := Parse([]byte(profile)); err != nil || len(p.Instances) != 1 {
		t.Errorf("%+v, %v", p, err)
	}
}

// What is taken for a profile is one at any time: numbers that can be measured.
func FuzzProfile(f *testing.F) {
	for _, name := range Names() {
		text, err := builtin.ReadFile("profiles/" + name + ".yaml")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text, int64(90*time.Second))
	}
	f.Fuzz(func(t *testing.T, text []byte, elapsed int64) {
		p, err := Parse(text)
		if err != nil {
			return
		}
		began := time.Unix(1000, 0)
		now := began
		s := New(p, "node", func() time.Time { return now })
		for range 3 {
			sample, err := s.Sample(t.Context())
			if err != nil && !errors.Is(err, errSilent) {
				t.Fatal(err)
			}
			for _, x := range sample.Instances {
				if share := x.ActiveDecodeBlocks; share != nil && !(float64(*share) >= 0 && float64(*share) <= 1) {
					t.Fatalf("a share is %v", *share)
				}
				for _, n := range []*int64{x.ActivePrefillTokens, x.Running, x.Waiting} {
					if n != nil && *n < 0 {
						t.Fatalf("a count is %d", *n)
					}
				}
			}
			now = now.Add(time.Duration(max(elapsed, 0)))
		}
	})
}
