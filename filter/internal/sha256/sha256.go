// Package sha256 is the hash of that name (FIPS 180-4). crypto/sha256 would take more of the module than all else of the admin surface; a test compares the two.
package sha256

import (
	"encoding/binary"
	"math/bits"
	"strconv"

	"github.com/spillway-proxy/spillway/filter/internal/inplace"
)

// rounds are the constants of SHA-256's rounds (FIPS 180-4, section 4.2.2): the fractions of the cube roots of the first 64 primes.
var rounds = [64]uint32{
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
	0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
	0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
	0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
	0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
}

// Sum is the SHA-256 of a text (FIPS 180-4, section 6.2).
func Sum(text string) (hash [32]byte) {
	state := [8]uint32{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19}
	const size = 64
	rest := inplace.Bytes(text)
	for ; len(rest) >= size; rest = rest[size:] {
		block(&state, rest[:size])
	}
	var end [2 * size]byte
	n := copy(end[:], rest)
	end[n] = 0x80
	padded := size
	if n >= size-8 {
		padded = len(end)
	}
	binary.BigEndian.PutUint64(end[padded-8:padded], uint64(len(text))*8)
	for from := 0; from < padded; from += size { // a slice that may be of two lengths, TinyGo would keep on the heap
		block(&state, end[from:from+size])
	}
	for i, word := range state {
		binary.BigEndian.PutUint32(hash[4*i:], word)
	}
	return hash
}

// Parse reads a hash that is written in 64 hexadecimal digits, as the configuration has seen to.
func Parse(digits string) (hash [32]byte) {
	for i := range hash {
		octet, _ := strconv.ParseUint(digits[2*i:2*i+2], 16, 8)
		hash[i] = byte(octet)
	}
	return hash
}

func block(state *[8]uint32, b []byte) {
	var w [64]uint32
	for i := range 16 {
		w[i] = binary.BigEndian.Uint32(b[4*i:])
	}
	for i := 16; i < len(w); i++ {
		x, y := w[i-15], w[i-2]
		s0 := bits.RotateLeft32(x, -7) ^ bits.RotateLeft32(x, -18) ^ x>>3
		s1 := bits.RotateLeft32(y, -17) ^ bits.RotateLeft32(y, -19) ^ y>>10
		w[i] = w[i-16] + s0 + w[i-7] + s1
	}
	v := *state
	for i := range w {
		s1 := bits.RotateLeft32(v[4], -6) ^ bits.RotateLeft32(v[4], -11) ^ bits.RotateLeft32(v[4], -25)
		t1 := v[7] + s1 + (v[4]&v[5] ^ ^v[4]&v[6]) + rounds[i] + w[i]
		s0 := bits.RotateLeft32(v[0], -2) ^ bits.RotateLeft32(v[0], -13) ^ bits.RotateLeft32(v[0], -22)
		t2 := s0 + (v[0]&v[1] ^ v[0]&v[2] ^ v[1]&v[2])
		v = [8]uint32{t1 + t2, v[0], v[1], v[2], v[3] + t1, v[4], v[5], v[6]}
	}
	for i := range state {
		state[i] += v[i]
	}
}
