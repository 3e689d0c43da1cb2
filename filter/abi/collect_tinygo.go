//go:build tinygo

package abi

import (
	"runtime"
	_ "unsafe" // for allocated
)

// collectEvery is how much may be allocated, in bytes, until what is garbage of it is collected. In the steady state requests allocate
// nothing, so nothing is collected.
const collectEvery = 256 << 10

// allocated is what was allocated since the VM started, in bytes: TinyGo's own count.
//
//go:extern runtime.gcTotalAlloc
var allocated uint64

// collected is what was allocated when garbage was collected last.
var collected uint64

// collect collects garbage, between callbacks and at no other time. TinyGo's way is to collect whenever the memory is full. For that each function must
// write down, in memory, every pointer that it holds, since the stack of WebAssembly can't be read: that was a sixth of the module and a
// third of its time. Between callbacks no function holds any. So TinyGo is told by tools/tinygo/target.json not to write pointers
// down, and by tools/tinygo/build.sh to let the memory grow when it is full. The build for tests collects after each callback: what is
// collected too early shows.
func collect() {
	if poisons || allocated-collected >= collectEvery {
		collected = allocated
		runtime.GC()
	}
}
