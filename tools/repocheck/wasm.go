package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// exportSection is the id of the section of a Wasm module that lists what the host may call.
const exportSection = 7

var errNotWasm = errors.New("it is not a complete Wasm module")

// checkWasm checks a compiled filter; limit is its largest size in bytes.
func checkWasm(name string, module []byte, limit int) (findings []string, err error) {
	if len(module) > limit {
		findings = append(findings, fmt.Sprintf("%s: %d bytes, more than %d: Envoy's start-up takes as much longer; look for new "+
			"packages in `GOOS=wasip1 GOARCH=wasm go list -deps ./filter`, or raise WASM_MAX_BYTES in the Makefile and say why", name, len(module), limit))
	}
	exports, err := exportNames(module)
	if err != nil {
		return findings, fmt.Errorf("read %q: %w", name, err)
	}
	if slices.Contains(exports, "malloc") {
		findings = append(findings, name+": exports malloc, which Envoy would call for memory instead of proxy_on_memory_allocate, "+
			"and Go's collector would not know of it: take the export out")
	}
	for _, needed := range []string{"proxy_abi_version_0_2_0", "proxy_on_memory_allocate", "_initialize"} {
		if !slices.Contains(exports, needed) {
			findings = append(findings, fmt.Sprintf("%s: does not export %s, so Envoy will refuse it: build it with `make wasm`", name, needed))
		}
	}
	return findings, nil
}

// exportNames lists what a Wasm module exports (https://webassembly.github.io/spec/core/binary/modules.html).
func exportNames(module []byte) (names []string, err error) {
	rest, ok := bytes.CutPrefix(module, []byte("\x00asm\x01\x00\x00\x00"))
	if !ok {
		return nil, errNotWasm
	}
	for len(rest) > 0 {
		id := rest[0]
		content, after, err := sized(rest[1:])
		if err != nil {
			return nil, err
		}
		if id == exportSection {
			return exportSectionNames(content)
		}
		rest = after
	}
	return nil, nil
}

func exportSectionNames(section []byte) (names []string, err error) {
	count, rest, err := number(section)
	for ; err == nil && count > 0; count-- {
		var name []byte
		if name, rest, err = sized(rest); err != nil {
			break
		}
		names = append(names, string(name))
		if len(rest) == 0 {
			return nil, errNotWasm
		}
		_, rest, err = number(rest[1:]) // behind a byte for the kind: the index
	}
	return names, err
}

// sized takes a number of bytes, and then as many bytes, from the front of data.
func sized(data []byte) (content, rest []byte, err error) {
	size, rest, err := number(data)
	if err != nil || size > uint64(len(rest)) {
		return nil, nil, errNotWasm
	}
	return rest[:size], rest[size:], nil
}

// number takes an unsigned LEB128 number, which is encoding/binary's Uvarint, from the front of data.
func number(data []byte) (value uint64, rest []byte, err error) {
	value, length := binary.Uvarint(data)
	if length <= 0 {
		return 0, nil, errNotWasm
	}
	return value, data[length:], nil
}
