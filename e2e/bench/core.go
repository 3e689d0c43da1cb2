package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// coreCount is how often each benchmark of the core runs.
const coreCount = 3

// gatesPackage has the benchmarks of the adaptive gates.
const gatesPackage = "health"

// bodyPackages have the benchmarks of what reads bodies. Nothing outside filter/ can import them, so they run by themselves.
var bodyPackages = []string{corePackage("jsonscan"), corePackage("admit")}

func corePackage(name string) string { return "./filter/internal/" + name }

// benchmark is one of the core's, with what each of its runs printed, by unit.
type benchmark struct {
	name    string
	figures map[string][]float64
}

func (b benchmark) median(unit string) float64 { return median(b.figures[unit]) }

// runCore runs the benchmarks of the pure core, compiled for this machine: no Envoy, no WebAssembly.
func runCore(ctx context.Context, root string, each time.Duration, packages []string) ([]benchmark, error) {
	args := []string{"test", "-run", "^$", "-bench", ".", "-benchmem", "-benchtime", each.String(), "-count", strconv.Itoa(coreCount)}
	command := exec.CommandContext(ctx, "go", append(args, packages...)...)
	command.Dir = root
	output, err := command.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("run the core's benchmarks: %w\n%s", err, output)
	}
	return parseBenchmarks(string(output))
}

// processors is what go test adds to a benchmark's name.
var processors = regexp.MustCompile(`-\d+$`)

// parseBenchmarks reads what go test prints: the package, and a line for each run: the name, how often, and figures with
// their units.
func parseBenchmarks(text string) (list []benchmark, err error) {
	var pkg string
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 2 && fields[0] == "pkg:" {
			pkg = path.Base(fields[1])
		}
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		name := processors.ReplaceAllString(strings.TrimPrefix(fields[0], "Benchmark"), "")
		name = pkg + "/" + strings.ReplaceAll(name, "_", " ")
		at := slices.IndexFunc(list, func(b benchmark) bool { return b.name == name })
		if at < 0 {
			at, list = len(list), append(list, benchmark{name, map[string][]float64{}})
		}
		for i := 2; i+1 < len(fields); i += 2 {
			value, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return nil, fmt.Errorf("read the core's benchmarks: %w in %q", err, line)
			}
			list[at].figures[fields[i+1]] = append(list[at].figures[fields[i+1]], value)
		}
	}
	if len(list) == 0 {
		return nil, errors.New("the core has no benchmarks")
	}
	return list, nil
}
