//go:build tinygo

package abi

// assertFail stands in for the C library's, which TinyGo links for its source of random numbers. That one prints, and printing would
// make the module 20 KB larger; what it would say never happens, and ends the VM either way. (The linker is told in tools/tinygo/target.json.)
//
//export __wrap___assert_fail
func assertFail(_, _ *byte, _ int32, _ *byte) { panic("an assertion of the C library failed") }
