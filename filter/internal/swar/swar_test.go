package swar

import (
	"bytes"
	"testing"
)

// The lowest mark is right, whatever stands below and above it.
func TestTheFirstMarkIsRight(t *testing.T) {
	fillers := []byte{0, 1, 9, '\n', '\r', ' ' - 1, ' ', '!', '"', '#', '[', '\\', ']', 0x7f, 0x80, 0x8a, 0xa2, 0xff}
	for _, below := range fillers {
		for _, above := range fillers {
			for place := range Size + 1 {
				for c := range 256 {
					p := bytes.Repeat([]byte{below}, Size)
					for i := place; i < Size; i++ {
						p[i] = above
					}
					if place < Size {
						p[place] = byte(c)
					}
					check(t, p)
				}
			}
		}
	}
}

func check(t *testing.T, p []byte) {
	t.Helper()
	word := Word(p)
	equal, below, either := Size, Size, Size
	for i := Size - 1; i >= 0; i-- {
		if p[i] == '"' {
			equal = i
		}
		if p[i] < ' ' {
			below = i
		}
		if p[i] == '"' || p[i] < ' ' || p[i] == '\\' {
			either = i
		}
	}
	marks := Equal(word, '"') | Below(word, ' ') | Equal(word, '\\')
	if First(Equal(word, '"')) != equal || First(Below(word, ' ')) != below || First(marks) != either {
		t.Fatalf("%q: %d, %d, %d, want %d, %d, %d", p, First(Equal(word, '"')), First(Below(word, ' ')), First(marks), equal, below, either)
	}
}

func TestHowMuchIsCommon(t *testing.T) {
	text := []byte("0123456789abcdefghij")
	for size := range len(text) + 1 {
		for place := range size + 1 {
			other := bytes.Clone(text[:size])
			if place < size {
				other[place] ^= 0x80
			}
			for _, pair := range [][2][]byte{{text, other}, {other, text}} {
				if n := Common(pair[0], pair[1]); n != place {
					t.Fatalf("%q and %q: %d, want %d", pair[0], pair[1], n, place)
				}
			}
		}
	}
}
