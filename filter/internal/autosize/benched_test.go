package autosize

import (
	"math/rand/v2"
	"time"
)

// benched are the traces of the benchmarks in Envoy (e2e/bench), half a minute each: n of 0 has the very arrivals of these, others have others.
func benched(n uint64, length time.Duration) (list []*scene) {
	at := func(seed uint64, most float64, rate func(time.Duration) float64) []*job {
		return poissonOf(100*n+seed, length, rate, most)
	}
	steady := func(rate float64) func(time.Duration) float64 { return func(time.Duration) float64 { return rate } }
	middle := func(at time.Duration) bool { return at >= length/3 && at < 2*length/3 }
	mostly := func(at time.Duration) bool { return at >= length/6 && at < 5*length/6 }
	add := func(name string, slots func(time.Duration) int, jobs func() []*job) {
		list = append(list, &scene{
			name: name, length: length + 2*second, target: 200 * time.Millisecond, patience: 300 * time.Millisecond, jobs: jobs,
			server: func() server {
				return &slotted{slots: slots, prefill: 20 * time.Millisecond, perToken: 20 * time.Microsecond, token: 25 * time.Millisecond, slowdown: 0.06}
			},
		})
	}
	add("surge", ten, func() []*job { return at(6, 75, func(now time.Duration) float64 { return surgeIn(now, length) }) })
	add("slow ramp", ten, func() []*job {
		return at(7, 50, func(now time.Duration) float64 { return 5 + 45*now.Seconds()/length.Seconds() })
	})
	add("half of the slots", func(now time.Duration) int {
		if middle(now) {
			return 5
		}
		return 10
	}, func() []*job { return at(8, 20, steady(20)) })
	long := func(seed uint64, rate float64, every, tokens int) func() []*job {
		return func() []*job {
			jobs := at(seed, rate, steady(rate))
			for i, j := range jobs {
				if i%every == 0 {
					j.prompt = tokens
				}
			}
			return jobs
		}
	}
	add("long prompts among short", ten, long(9, 20, 10, 5000))
	add("too many of these", ten, long(16, 26, 10, 5000))
	noisy := func(seed uint64, own, other float64, when func(time.Duration) bool) func() []*job {
		return func() []*job {
			jobs := at(seed, own, steady(own))
			for _, j := range at(seed+1, other, func(now time.Duration) float64 {
				if when(now) {
					return other
				}
				return 0
			}) {
				j.foreign = true
				jobs = append(jobs, j)
			}
			return jobs
		}
	}
	add("noisy neighbour", ten, noisy(10, 14, 14, middle))
	add("noisy neighbour of a busy server", ten, noisy(17, 20, 14, mostly))
	add("chat", ten, func() []*job { return azureShorter("conv", 5, 21, 0, length) })
	add("code", ten, func() []*job { return azureShorter("code", 5, 2.8, 180*second, length) })
	add("calm", ten, func() []*job { return at(12, 12, steady(12)) })
	add("nearly full", ten, func() []*job { return at(13, 19, steady(19)) })
	add("longer prompts, fewer", ten, long(14, 18, 20, 7000))
	add("too long prompts", ten, long(15, 14, 8, 10000))
	add("noisier neighbour", ten, noisy(10, 10, 22, middle))
	add("quiet neighbour", ten, noisy(10, 17, 6, middle))
	return list
}

func surgeIn(at, length time.Duration) float64 {
	for _, b := range []struct {
		at     float64
		length time.Duration
		rate   float64
	}{{4, 3 * second, 50}, {6, 4 * second, 37}, {8.5, 2 * second, 75}} {
		if from := time.Duration(b.at / 10 * float64(length)); at >= from && at < from+b.length {
			return b.rate
		}
	}
	return 11
}

// poissonOf makes arrivals in the order of the benchmarks' random numbers.
func poissonOf(seed uint64, length time.Duration, rate func(at time.Duration) float64, most float64) (jobs []*job) {
	r := rand.New(rand.NewPCG(seed, 3))
	for at := 0.0; ; {
		at += r.ExpFloat64() / most
		due := time.Duration(at * float64(second))
		if due >= length {
			return jobs
		}
		if r.Float64()*most < rate(due) {
			r.IntN(100)
			jobs = append(jobs, &job{due: due, prompt: 10, output: 5 + r.IntN(11), subject: uint64(len(jobs)%10) + 1})
		}
	}
}

func azureShorter(name string, speed, shorter float64, from, length time.Duration) (jobs []*job) {
	for _, j := range azure(name, speed, from+length*10) {
		if j.due -= time.Duration(float64(from) / speed); j.due < 0 || j.due >= length {
			continue
		}
		j.prompt, j.output = min(max(j.prompt, 10), 6000), min(max(int(float64(j.output)/shorter), 1), 30)
		jobs = append(jobs, j)
	}
	return jobs
}
