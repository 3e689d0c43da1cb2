//go:build gc.precise && tinygo.wasm

package runtime

// This takes the place of TinyGo's gc_stack_portable.go. Garbage is collected between the host's callbacks only, when no function of the
// module is under way: so what is still needed is what the globals lead to. filter/abi/collect_tinygo.go says why.

func gcMarkReachable() { findGlobals(markRoots) }

func gcResumeWorld() {}
