package main

import (
	"math"
	"math/bits"
	"time"
)

// histogram counts durations in buckets that grow with them: each is known to
// better than 1/64 of itself, up to 18 minutes. Recording allocates nothing,
// so that the garbage collector does not become part of what is measured.
type histogram struct {
	counts [36 * fine]uint32
	n      int
	max    time.Duration
}

// fine is how many buckets a power of two is divided into.
const fine = 64

func (h *histogram) add(d time.Duration) {
	d = max(d, 0)
	h.counts[bucket(d)]++
	h.n++
	h.max = max(h.max, d)
}

func (h *histogram) merge(o *histogram) {
	for i, n := range &o.counts {
		h.counts[i] += n
	}
	h.n += o.n
	h.max = max(h.max, o.max)
}

// quantile is the duration that a share q of all do not exceed; 0 if there are
// none.
func (h *histogram) quantile(q float64) time.Duration {
	rank := int(math.Ceil(q * float64(h.n)))
	seen := 0
	for i, n := range &h.counts {
		seen += int(n)
		if n > 0 && seen >= rank {
			return min(upper(i), h.max)
		}
	}
	return 0
}

// bucket is the index for d: one for each nanosecond below 2*fine, then fine
// for each power of two.
func bucket(d time.Duration) int {
	v := uint64(d)
	if v < 2*fine {
		return int(v)
	}
	shift := bits.Len64(v / (2 * fine))
	return min(shift*fine+int(v>>shift), len(histogram{}.counts)-1)
}

// upper is the largest duration of bucket i.
func upper(i int) time.Duration {
	if i < 2*fine {
		return time.Duration(i)
	}
	shift := i/fine - 1
	return time.Duration((i-shift*fine+1)<<shift - 1)
}
