//go:build !wasip1

package config

// doc is what a key means.
type doc string

func docOf(text string) doc { return doc(text) }

func (d doc) text() string { return string(d) }
