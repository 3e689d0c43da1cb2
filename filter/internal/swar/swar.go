// Package swar looks through bytes eight at a time, as one word ("SIMD within a register"). A loop over single bytes, which in TinyGo's module
// bytes.IndexByte is as well, takes some five times as long.
//
// A word's bytes are marked by what they are, and the marks of several questions may be joined by "or". The lowest mark is right; those
// above it may be wrong, since a subtraction borrows from the next byte.
package swar

import (
	"encoding/binary"
	"math/bits"
)

// Size is how many bytes a word has.
const Size = 8

const ones, tops = 0x0101010101010101, 0x8080808080808080

// Word gives the first Size bytes of p, which has as many.
func Word(p []byte) uint64 { return binary.LittleEndian.Uint64(p) }

// Equal marks the bytes that are c.
func Equal(word uint64, c byte) uint64 { return Below(word^ones*uint64(c), 1) }

// Below marks the bytes that are less than n, which is 128 at most.
func Below(word uint64, n byte) uint64 { return (word - ones*uint64(n)) &^ word & tops }

// First gives the place of the lowest byte that is marked; Size, if none is.
func First(marks uint64) int { return bits.TrailingZeros64(marks) / Size }

// Common gives how many bytes a and b begin with that are the same.
func Common(a, b []byte) int {
	n, i := min(len(a), len(b)), 0
	for ; i+Size <= n; i += Size {
		if differ := Word(a[i:]) ^ Word(b[i:]); differ != 0 {
			return i + First(differ)
		}
	}
	for i < n && a[i] == b[i] {
		i++
	}
	return i
}
