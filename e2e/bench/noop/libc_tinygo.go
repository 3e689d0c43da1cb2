//go:build tinygo

package main

// assertFail is here as in the filter (filter/abi), since both are linked by tools/tinygo/target.json.
//
//export __wrap___assert_fail
func assertFail(_, _ *byte, _ int32, _ *byte) { panic("an assertion of the C library failed") }
