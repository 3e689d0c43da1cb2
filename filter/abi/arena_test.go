package abi

import (
	"encoding/binary"
	"fmt"
	"testing"
	"unsafe"
)

// handIn writes a value as the host does: it asks for memory, and says where and how much.
func handIn(value []byte) []byte {
	clearTaken()
	if len(value) > 0 {
		copy(unsafe.Slice((*byte)(Allocate(uint32(len(value)))), len(value)), value)
	}
	results.size = uint32(len(value))
	return taken()
}

func TestWhatTheHostHandsInIsTakenOver(t *testing.T) {
	for _, size := range []int{0, 1, 7, 8, 9, 1000, arenaSize - 100, arenaSize, arenaSize + 1, 1 << 20, 3 << 20} {
		Enter()
		var values [][]byte
		for k := range 3 { // they don't overlap
			value := make([]byte, size)
			for i := range value {
				value[i] = byte(i*7 + k)
			}
			values = append(values, handIn(value))
		}
		for k, value := range values {
			if len(value) != size || cap(value) != size {
				t.Fatalf("%d bytes: got %d, of %d", size, len(value), cap(value))
			}
			for i := range value {
				if value[i] != byte(i*7+k) {
					t.Fatalf("%d bytes: value %d is overwritten at %d", size, k, i)
				}
			}
		}
	}
}

// A callback costs nothing, whatever the host hands in that fits, and one large piece.
func TestTheArenaAllocatesNothing(t *testing.T) {
	small, large := make([]byte, 500), make([]byte, 500<<10)
	callback := func() {
		Enter()
		for range 20 {
			handIn(small)
		}
		handIn(large)
	}
	callback()
	if n := testing.AllocsPerRun(100, callback); n != 0 {
		t.Errorf("%v allocations", n)
	}
	Enter()
	handIn(make([]byte, 5<<20))
	if Enter(); cap(memory.large) > mostKept {
		t.Errorf("%d bytes are kept", cap(memory.large))
	}
}

func TestHeadersAreReadAsTheyWereWritten(t *testing.T) {
	into := make([][2]string, 0, 8)
	for _, pairs := range [][][2]string{nil, {{"a", ""}}, {{"", ""}, {"", "x"}}, {{":path", "/v1"}, {"x-user-id", "ann\x00bob"}, {"x", "\xff"}}} {
		got, status := decodePairs(encodePairs(pairs), into[:0])
		if status != OK || fmt.Sprint(got) != fmt.Sprint(pairs) {
			t.Errorf("%q: %q, %v", pairs, got, status)
		}
	}
}

// Whatever a host writes, nothing is read that isn't there.
func FuzzHeaders(f *testing.F) {
	f.Add(encodePairs([][2]string{{"a", "b"}, {"c", ""}}))
	f.Add(binary.LittleEndian.AppendUint32(nil, 1<<31))
	f.Add([]byte{1, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		pairs, status := decodePairs(data, nil)
		size := 0
		for i := range pairs {
			size += len(pairs[i][0]) + len(pairs[i][1])
		}
		if size > len(data) || len(pairs) > len(data)/8 {
			t.Errorf("%d pairs of %d bytes in %d, %v", len(pairs), size, len(data), status)
		}
	})
}

// A piece of a body lies in the place of the one before, and leaves what else was handed in as it is.
func TestPiecesTakeEachOthersPlace(t *testing.T) {
	Enter()
	kept := handIn([]byte("kept"))
	memory.forPiece = true
	first := handIn(make([]byte, pieceSize))
	second := handIn([]byte("second"))
	large := handIn(make([]byte, pieceSize+1))
	memory.forPiece = false
	if unsafe.SliceData(first) != unsafe.SliceData(second) || unsafe.SliceData(large) == unsafe.SliceData(second) {
		t.Error("the second piece is not in the first one's place, or a larger one is")
	}
	if string(kept) != "kept" || string(second) != "second" {
		t.Errorf("got %q and %q", kept, second)
	}
}
