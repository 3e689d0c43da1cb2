package autosize

import (
	"embed"
	"encoding/csv"
	"math/rand/v2"
	"strconv"
	"time"
)

const second = time.Second

//go:embed testdata/*.csv
var traces embed.FS

func surgeServer(slots func(time.Duration) int) func() server {
	return func() server {
		return &slotted{slots: slots, prefill: 20 * time.Millisecond, token: 25 * time.Millisecond, slowdown: 0.06}
	}
}

func ten(time.Duration) int { return 10 }

func surgeLengths(r *rand.Rand) (int, int) { return 10, 5 + r.IntN(11) }

func vllm(speed func(time.Duration) float64) func() server {
	return func() server {
		return &batched{base: 8 * time.Millisecond, seq: 150 * time.Microsecond, tok: 40 * time.Microsecond, budget: 2048, most: 256, cache: 60000, speed: speed}
	}
}

func surgeRate(at time.Duration) float64 {
	switch {
	case at >= 40*second && at < 43*second:
		return 50
	case at >= 60*second && at < 64*second:
		return 37
	case at >= 85*second && at < 87*second:
		return 75
	}
	return 11
}

func scenes() []*scene { return series(0) }

// series is the same scenes with other arrivals; those of series 0 are those that constants were chosen by.
func series(n uint64) []*scene {
	seed := func(k uint64) uint64 { return 100*n + k }
	short := scene{length: 100 * second, target: 200 * time.Millisecond, patience: 300 * time.Millisecond, maxWait: 150 * time.Millisecond}
	with := func(base scene, name string, hand int, s func() server, jobs func() []*job) *scene {
		base.name, base.hand, base.server, base.jobs = name, hand, s, jobs
		return &base
	}
	list := []*scene{
		with(short, "surge", 10, surgeServer(ten), func() []*job { return poisson(seed(6), 100*second, surgeRate, 75, surgeLengths) }),
		with(short, "ramp", 10, surgeServer(ten), func() []*job {
			return poisson(seed(7), 100*second, func(at time.Duration) float64 { return 5 + 45*at.Seconds()/100 }, 50, surgeLengths)
		}),
		with(short, "step", 10, surgeServer(func(now time.Duration) int {
			if now > 30*second && now < 65*second {
				return 5
			}
			return 10
		}), func() []*job {
			return poisson(seed(8), 100*second, func(time.Duration) float64 { return 23 }, 50, surgeLengths)
		}),
		with(short, "overload 4x", 10, surgeServer(ten), func() []*job {
			return poisson(seed(9), 100*second, func(time.Duration) float64 { return 100 }, 100, surgeLengths)
		}),
	}
	long := scene{length: 240 * second, target: 2 * second, patience: 10 * second, maxWait: 1500 * time.Millisecond}
	chat := func(r *rand.Rand) (int, int) { return 100 + r.IntN(400), 20 + r.IntN(200) }
	bursts := func(at time.Duration) float64 {
		if at%(60*second) > 40*second {
			return 40
		}
		return 8
	}
	list = append(list,
		with(long, "vllm bursts", 128, vllm(nil), func() []*job { return poisson(seed(10), 240*second, bursts, 40, chat) }),
		with(long, "vllm overload", 128, vllm(nil), func() []*job {
			return poisson(seed(11), 240*second, func(time.Duration) float64 { return 40 }, 40, chat)
		}),
		with(long, "vllm halves", 128, vllm(func(now time.Duration) float64 {
			if now > 80*second && now < 160*second {
				return 0.5
			}
			return 1
		}), func() []*job {
			return poisson(seed(12), 240*second, func(time.Duration) float64 { return 20 }, 40, chat)
		}),
		with(long, "long among short", 28, vllm(nil), func() []*job {
			return poisson(seed(13), 240*second, func(time.Duration) float64 { return 14 }, 14, func(r *rand.Rand) (int, int) {
				if r.IntN(20) == 0 {
					return 6000 + r.IntN(6000), 100
				}
				return 50 + r.IntN(200), 20 + r.IntN(100)
			})
		}),
		with(long, "noisy neighbour", 40, vllm(nil), func() []*job {
			jobs := poisson(seed(14), 240*second, func(time.Duration) float64 { return 12 }, 12, chat)
			for _, j := range poisson(seed(15), 240*second, func(at time.Duration) float64 {
				if at > 60*second && at < 140*second {
					return 10
				}
				return 0.01
			}, 10, chat) {
				j.foreign = true
				jobs = append(jobs, j)
			}
			return jobs
		}),
		with(long, "azure conv", 40, vllm(nil), func() []*job { return azure("conv", 3+0.3*float64(n), 240*second) }),
		with(long, "azure code", 12, vllm(nil), func() []*job { return azure("code", 4+0.4*float64(n), 240*second) }),
	)
	return list
}

// azure is the arrivals of a real service, so many times as fast.
func azure(name string, speed float64, length time.Duration) (jobs []*job) {
	file, err := traces.Open("testdata/azure-" + name + ".csv")
	if err != nil {
		panic(err)
	}
	rows, err := csv.NewReader(file).ReadAll()
	if err != nil {
		panic(err)
	}
	r := rand.New(rand.NewPCG(1, 1))
	for _, row := range rows[1:] {
		var n [3]int
		for i := range n {
			if n[i], err = strconv.Atoi(row[i]); err != nil {
				panic(err)
			}
		}
		if due := time.Duration(float64(n[0]) / speed * float64(time.Millisecond)); due < length {
			jobs = append(jobs, &job{due: due, prompt: max(n[1], 1), output: max(n[2], 1), subject: uint64(r.IntN(20)) + 1})
		}
	}
	return jobs
}
