package wasmhost

import (
	"encoding/binary"
	"fmt"
	"slices"
)

const (
	mallocExport = "proxy_on_memory_allocate"

	// pairsMaxBytes and pairsMaxCount bound what the host accepts from the guest as
	// a header map; past them it sees an empty one.
	pairsMaxBytes = 1 << 20
	pairsMaxCount = 1024
)

// read copies guest memory, because the view is only good until the next call
// into the guest.
func (v *VM) read(ptr, size uint64) ([]byte, bool) {
	b, ok := v.mod.Memory().Read(uint32(ptr), uint32(size))
	return slices.Clone(b), ok
}

func (v *VM) readString(ptr, size uint64) (string, bool) {
	b, ok := v.mod.Memory().Read(uint32(ptr), uint32(size))
	return string(b), ok
}

func (v *VM) write(ptr uint64, b []byte) bool { return v.mod.Memory().Write(uint32(ptr), b) }

func (v *VM) writeU32(ptr uint64, n uint32) bool {
	return v.mod.Memory().WriteUint32Le(uint32(ptr), n)
}

func (v *VM) writeU64(ptr uint64, n uint64) bool {
	return v.mod.Memory().WriteUint64Le(uint32(ptr), n)
}

// returnBytes hands a value to the guest in memory that the guest allocates, and
// stores where it is. An empty value is a null pointer.
func (v *VM) returnBytes(b []byte, ptrPtr, sizePtr uint64) bool {
	var ptr uint64
	if len(b) > 0 {
		ptr = v.malloc(len(b))
		if ptr == 0 || !v.write(ptr, b) {
			return false
		}
	}
	return v.writeU32(ptrPtr, uint32(ptr)) && v.writeU32(sizePtr, uint32(len(b)))
}

// malloc asks the guest for memory. Meanwhile most host functions are off
// limits, because the host is in the middle of one.
func (v *VM) malloc(size int) uint64 {
	cur, eff, restricted := v.current, v.effective, v.allowed
	v.current, v.effective, v.allowed = v.vmContext, 0, duringAllocation
	res, err := v.mallocFn.Call(v.ctx, uint64(size))
	v.current, v.effective, v.allowed = cur, eff, restricted
	if err != nil {
		// Unwinds the guest's outer call as well: the VM can't go on.
		panic(fmt.Errorf("%s: %w", mallocExport, err))
	}
	return res[0]
}

// marshalPairs writes a header map in the ABI's form.
func marshalPairs(pairs [][2]string) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(len(pairs)))
	for _, p := range pairs {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(p[0])))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(p[1])))
	}
	for _, p := range pairs {
		b = append(append(b, p[0]...), 0)
		b = append(append(b, p[1]...), 0)
	}
	return b
}

// unmarshalPairs reads the ABI's form; what is malformed or too large counts as
// no pairs at all.
func unmarshalPairs(b []byte) [][2]string {
	if len(b) < 4 || len(b) > pairsMaxBytes {
		return nil
	}
	n := int(binary.LittleEndian.Uint32(b))
	if n > pairsMaxCount || len(b) < 4+8*n {
		return nil
	}
	sizes, data := b[4:4+8*n], b[4+8*n:]
	next := func(i int) (string, bool) {
		size := int(binary.LittleEndian.Uint32(sizes[4*i:]))
		if size < 0 || size+1 > len(data) || data[size] != 0 {
			return "", false
		}
		s := string(data[:size])
		data = data[size+1:]
		return s, true
	}
	pairs := make([][2]string, 0, n)
	for i := range n {
		k, ok1 := next(2 * i)
		val, ok2 := next(2*i + 1)
		if !ok1 || !ok2 {
			return nil
		}
		pairs = append(pairs, [2]string{k, val})
	}
	return pairs
}
