//go:build spillway_trap

package plugin

import (
	"runtime"
	"runtime/debug"

	"github.com/spillway-proxy/spillway/filter/internal/inplace"
)

// trap kills the VM, or panics, when a request says so: the build tag spillway_trap makes a module to test what
// happens then.
func trap(headers [][2]string) {
	for _, header := range headers {
		if header[0] != "x-spillway-trap" {
			continue
		}
		trapAt([]byte(header[1]))
		debug.SetMaxStack(1 << 20) // the same death as with the 250 MB that a stack may have, but at once
		recurse(1)
	}
}

// trapAt panics where an attribute of the host's says so: in the ends of streams, and in ticks that look at one.
func trapAt(attribute []byte) {
	if inplace.String(attribute) == "panic" {
		var list []int
		_ = list[len(attribute)]
	}
}

// recurse overflows the stack, which Go can't recover from. It calls itself twice, lest a compiler make a loop of it.
//
//go:noinline
func recurse(n int) int {
	depth++
	return recurse(recurse(n + 1))
}

var depth int

// Mallocs is how many pieces of memory the VM has allocated so far. What is garbage by now counts, too.
//
//go:wasmexport spillway_mallocs
func Mallocs() uint64 {
	runtime.ReadMemStats(&memory)
	return memory.Mallocs
}

var memory runtime.MemStats
