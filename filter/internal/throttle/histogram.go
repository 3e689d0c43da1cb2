package throttle

import (
	"math"
	"math/bits"
	"time"
)

const (
	// unit is the width of the narrowest bucket: 2^16 ns, 65.5 µs.
	unit = 16
	// octave is into how many buckets of equal width each power of two is cut.
	octave = 16
	// doublings is how many powers of two there are above the first octave buckets: up to 2^42 ns, 73 minutes.
	doublings = 22
	buckets   = octave * (doublings + 1)

	// relativeError bounds how far a quantile is from the exact one, for durations from 1.05 ms to an hour; below, it is off by
	// 33 µs at most.
	relativeError = 1.0 / (2 * octave)

	longest = time.Hour
)

// histogram counts durations in buckets whose width grows with the duration, as HdrHistogram does
// (https://github.com/HdrHistogram/HdrHistogram): linear within a power of two, so that the relative error is bounded, and the
// size is fixed, whatever is counted. What is longer than an hour counts as an hour.
type histogram struct {
	counts [buckets]uint32
	total  uint32
}

// bucket is the index of the bucket of a duration.
func bucket(duration time.Duration) int {
	n := uint64(min(max(duration, 0), longest)) >> unit
	if n < octave {
		return int(n)
	}
	shift := bits.Len64(n) - bits.Len64(octave) // 0 for the first octave above the linear part
	return octave*(shift+1) + int(n>>shift) - octave
}

// middle is the duration in the middle of a bucket.
func middle(i int) time.Duration {
	if i < octave {
		return time.Duration(i)<<unit + 1<<(unit-1)
	}
	shift := i/octave - 1
	return time.Duration(octave+i%octave)<<(unit+shift) + 1<<(unit+shift-1)
}

// add counts a duration. A full histogram counts no more.
func (h *histogram) add(duration time.Duration) {
	if h.total < math.MaxUint32 {
		h.counts[bucket(duration)]++
		h.total++
	}
}

// merge counts what another histogram has counted.
func (h *histogram) merge(other *histogram) {
	if other.total == 0 || uint64(h.total)+uint64(other.total) > math.MaxUint32 {
		return
	}
	for i, n := range &other.counts {
		h.counts[i] += n
	}
	h.total += other.total
}

// count is how many durations were counted.
func (h *histogram) count() int64 { return int64(h.total) }

// quantile is the duration that the share q of all is not longer than: within relativeError of the one with
// the rank q·total, rounded up. Of none it is 0.
func (h *histogram) quantile(q float64) time.Duration {
	rank := uint64(math.Ceil(q * float64(h.total)))
	rank = min(max(rank, 1), uint64(h.total))
	passed := uint64(0)
	for i, n := range &h.counts {
		if passed += uint64(n); n > 0 && passed >= rank {
			return min(middle(i), longest)
		}
	}
	return 0
}

// reset forgets all.
func (h *histogram) reset() { *h = histogram{} }
