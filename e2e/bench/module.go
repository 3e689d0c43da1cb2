package main

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
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

// buildNoop compiles the filter that does nothing, with the flags that the Makefile has for Spillway.
func buildNoop(ctx context.Context, root string) (module, error) {
	path := filepath.Join(root, "build", "bench-noop.wasm")
	command := exec.CommandContext(ctx, "go", "build", "-buildmode=c-shared", "-trimpath", "-ldflags=-s -w", "-o", path,
		"./bench/noop")
	command.Dir = filepath.Join(root, "e2e")
	command.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if output, err := command.CombinedOutput(); err != nil {
		return module{}, fmt.Errorf("build the no-op filter: %w\n%s", err, output)
	}
	return openModule(path)
}
