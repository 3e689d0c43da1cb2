//go:build wasip1

package plugin

import "unsafe"

// monotonic is the host's steady clock in nanoseconds. It is the same for all workers of a proxy and never steps, which
// the wall clock does; and unlike it, it can't be had from package time as a number.
func monotonic() int64 {
	const clockMonotonic = 1
	var now uint64
	clockTimeGet(clockMonotonic, 1, unsafe.Pointer(&now))
	return int64(now)
}

//go:wasmimport wasi_snapshot_preview1 clock_time_get
//go:noescape
func clockTimeGet(id uint32, precision uint64, result unsafe.Pointer) uint32
