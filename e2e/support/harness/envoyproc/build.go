package envoyproc

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
)

// producers is the custom section of a Wasm module in which a compiler says what it is.
const producers = "producers"

// ContainsPanics says whether a panic in a compiled filter costs no more than what its stream was to get. That is so where the
// compiler is stock Go's. TinyGo's has no recover on Wasm: there a panic ends the VM, and Envoy starts another one.
func ContainsPanics(wasm string) (bool, error) {
	module, err := os.ReadFile(wasm)
	if err != nil {
		return false, err
	}
	const preamble = "\x00asm\x01\x00\x00\x00"
	rest, ok := bytes.CutPrefix(module, []byte(preamble))
	for ok && len(rest) > 0 {
		const custom = 0
		id := rest[0]
		var content []byte
		if content, rest, ok = cutSized(rest[1:]); !ok || id != custom {
			continue
		}
		var name []byte
		if name, content, ok = cutSized(content); ok && string(name) == producers {
			return bytes.Contains(content, []byte("Go cmd/compile")), nil
		}
	}
	if !ok {
		return false, fmt.Errorf("%q is not a complete Wasm module", wasm)
	}
	return false, nil
}

// cutSized cuts off what begins with its own length.
func cutSized(b []byte) (content, rest []byte, ok bool) {
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return nil, nil, false
	}
	b = b[n:]
	return b[:size], b[size:], true
}
