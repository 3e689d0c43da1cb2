// Package inplace gives bytes and text as one another without a copy, which TinyGo makes of every conversion, be it for a comparison alone.
package inplace

import "unsafe"

// String gives bytes as text, in place. It changes with them: what is to be kept for longer than they stay as they are is to be cloned.
func String(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// Bytes gives text as bytes, in place: they are not to be changed.
func Bytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
