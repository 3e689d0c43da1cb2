//go:build wasip1

package plugin

import (
	"unsafe"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

// monotonic is the host's steady clock. It is the same for all workers of a proxy and never steps, which
// the wall clock does; and unlike it, it can't be had from package time as a number.
func monotonic() clock.Moment {
	const clockMonotonic = 1
	var now uint64
	clockTimeGet(clockMonotonic, 1, unsafe.Pointer(&now))
	return clock.Moment(now)
}

//go:wasmimport wasi_snapshot_preview1 clock_time_get
//go:noescape
func clockTimeGet(id uint32, precision uint64, result unsafe.Pointer) uint32
