package main

import (
	"compress/gzip"
	"io"
	"os"
)

// module is a compiled filter.
type module struct {
	path       string
	size, gzip int // bytes
}

func openModule(path string) (module, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return module{}, err
	}
	var compressed byteCount
	z := gzip.NewWriter(&compressed)
	if _, err := z.Write(text); err != nil {
		return module{}, err
	}
	if err := z.Close(); err != nil {
		return module{}, err
	}
	return module{path, len(text), int(compressed)}, nil
}

// byteCount counts what is written to it.
type byteCount int

var _ io.Writer = new(byteCount)

func (c *byteCount) Write(p []byte) (int, error) {
	*c += byteCount(len(p))
	return len(p), nil
}
