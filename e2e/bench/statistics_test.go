package main

import (
	"testing"
)

func TestMedianAndQuantile(t *testing.T) {
	t.Parallel()
	values := []float64{5, 1, 4, 2, 3}
	if got := median(values); got != 3 {
		t.Errorf("median %v, want 3", got)
	}
	if got := median(values[1:]); got != 2.5 {
		t.Errorf("median of an even number %v, want 2.5", got)
	}
	if values[0] != 5 {
		t.Error("the values were sorted in place")
	}
	for q, want := range map[float64]float64{0: 1, 0.5: 3, 0.99: 5, 1: 5} {
		if got := quantile(values, q); got != want {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
}

func TestInterval(t *testing.T) {
	t.Parallel()
	low, high := interval([]float64{1.1, 1.1, 1.1})
	if low != 1.1 || high != 1.1 {
		t.Errorf("of equal values: %v to %v", low, high)
	}
	values := []float64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 100}
	low, high = interval(values)
	if m := median(values); low >= m || high <= m || high >= 100 {
		t.Errorf("%v to %v does not hold the median %v, or holds the outlier", low, high, m)
	}
	again, _ := interval(values)
	if again != low {
		t.Errorf("%v, then %v", low, again)
	}
}
