package abi

import "unsafe"

// arena is the memory for what the host hands in during one callback.
type arena struct {
	base  []byte // what most callbacks need
	used  int
	large []byte // for one piece that doesn't fit, kept for the next such one
	last  []byte // what was given last

	piece    []byte // for a piece of a body
	forPiece bool   // the host hands in one
}

const (
	arenaSize = 64 << 10 // bytes
	pieceSize = 64 << 10 // bytes
	mostKept  = 1 << 20  // bytes: what large keeps at most
)

var memory = arena{base: make([]byte, arenaSize), piece: make([]byte, pieceSize)}

// under is how many callbacks are under way: one, since Envoy makes none while another runs. Of a host that does, nothing that is needed is collected.
var under int

// Enter begins a callback, and empties the arena: nothing of the one before is needed any more.
func Enter() {
	under++
	memory.reset()
}

// Leave ends a callback. Memory that nobody needs any more is collected when none is under way.
func Leave() {
	if under--; under == 0 {
		collect()
	}
}

func (a *arena) reset() {
	if poisons {
		poison(a.base[:a.used])
		poison(a.large)
		poison(a.piece)
	}
	a.used, a.last = 0, nil
	if cap(a.large) > mostKept {
		a.large = nil
	}
	a.large = a.large[:0]
}

// Allocate is the host's way to hand something in.
//
//go:wasmexport proxy_on_memory_allocate
func Allocate(size uint32) unsafe.Pointer {
	return unsafe.Pointer(unsafe.SliceData(memory.alloc(int(size))))
}

// alloc gives memory for a value of the host's.
func (a *arena) alloc(size int) []byte {
	const align = 8
	switch {
	case a.forPiece && size <= len(a.piece):
		if poisons {
			poison(a.piece)
		}
		a.last = a.piece[:size:size]
	case size <= len(a.base)-a.used:
		a.last = a.base[a.used : a.used+size : a.used+size]
		a.used = min(a.used+(size+align-1)&^(align-1), len(a.base))
	case len(a.large) == 0: // nobody has it
		if cap(a.large) < size {
			a.large = make([]byte, 0, size+size/4)
		}
		a.large = a.large[:size]
		a.last = a.large
	default:
		a.last = make([]byte, size)
	}
	return a.last
}

// poison makes what is kept for too long visible.
func poison(b []byte) {
	for i := range b {
		b[i] = 0xdb
	}
}
