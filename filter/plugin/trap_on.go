//go:build spillway_trap

package plugin

import "runtime/debug"

// trap kills the VM, or panics, when a request says so: the build tag spillway_trap makes a module to test what
// happens then.
func trap(headers [][2]string) {
	for _, header := range headers {
		if header[0] != "x-spillway-trap" {
			continue
		}
		if header[1] == "panic" {
			var list []int
			_ = list[len(headers)]
		}
		debug.SetMaxStack(1 << 20) // the same death as with the 250 MB that a stack may have, but at once
		recurse(1)
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
