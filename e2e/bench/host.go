package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// host is what the figures depend on besides the code.
type host struct {
	CPU, Kernel, Envoy, Go, Commit, Date string
	Cores                                int
}

const unknown = "unknown"

func describeHost(ctx context.Context, root, envoyVersion string) host {
	return host{
		CPU: cpuModel(), Cores: runtime.NumCPU(),
		Kernel: firstLine("/proc/sys/kernel/osrelease"),
		Envoy:  envoyVersion, Go: strings.TrimPrefix(runtime.Version(), "go"),
		Commit: commit(ctx, root), Date: time.Now().UTC().Format(time.DateOnly),
	}
}

func cpuModel() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH // only some architectures have a name there
}

func firstLine(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return unknown
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return line
}

// commit is the one that is checked out, with a mark if the code differs from it. The report itself doesn't count.
func commit(ctx context.Context, root string) string {
	git := func(args ...string) (string, error) {
		command := exec.CommandContext(ctx, "git", args...)
		command.Dir = root
		output, err := command.Output()
		return strings.TrimSpace(string(output)), err
	}
	id, err := git("rev-parse", "--short=12", "HEAD")
	if err != nil {
		return unknown
	}
	changes, err := git("status", "--porcelain", "--", ".", ":!"+filepath.ToSlash(reportFile))
	if err != nil || changes != "" {
		id += ", with changes that are not committed"
	}
	return id
}
