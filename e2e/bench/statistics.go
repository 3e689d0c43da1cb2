package main

import (
	"cmp"
	"math/rand/v2"
	"slices"
)

// median is the middle of values, or the mean of the middle two. There must be at least one.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// quantile is the smallest value that the share q of all values does not exceed. There must be at least one.
func quantile[T cmp.Ordered](values []T, q float64) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

// ratios divides round by round: what disturbs a round disturbs both sides of it.
func ratios(values, base []float64) []float64 {
	r := make([]float64, len(values))
	for i := range values {
		r[i] = values[i] / base[i]
	}
	return r
}

// interval is the 95 % confidence interval of the median, by the percentile bootstrap: the medians of many samples drawn
// from the values, with repetition. It is always the same for the same values.
func interval(values []float64) (low, high float64) {
	const samples = 10_000
	random := rand.New(rand.NewPCG(1, 2))
	medians := make([]float64, samples)
	drawn := make([]float64, len(values))
	for i := range medians {
		for j := range drawn {
			drawn[j] = values[random.IntN(len(values))]
		}
		medians[i] = median(drawn)
	}
	return quantile(medians, 0.025), quantile(medians, 0.975)
}
