package sha256

import (
	"crypto/sha256"
	"strconv"
	"strings"
	"testing"
)

// The hash is the library's.
func TestSum(t *testing.T) {
	for n := range 300 {
		text := strings.Repeat("a"+strconv.Itoa(n), n)[:n]
		if got, want := Sum(text), sha256.Sum256([]byte(text)); got != want {
			t.Fatalf("of %d bytes: %x, want %x", n, got, want)
		}
	}
}
