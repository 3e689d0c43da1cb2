// Command generate writes what is made of the filter's tables into the files that show it or depend on it: the keys in docs/configuration.md, the refusals in docs/reasons.md, the dialects in docs/dialects.md,
// their names in the configuration, the values of the filter state in docs/filter-state.md, the metrics in docs/metrics.md, the way from each page of docs to the next, and, where Envoy is to make
// labels of the metrics' names, its stats_tags. It also joins the dashboard's sources to the page that the filter serves.
//
//	go run ./filter/generate
//
// With -check it compares what is there with what it would write, and exits with status 1 if they differ. It is run in the
// repository's root, or is given that as an argument.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/spillway-proxy/spillway/config/filterstate"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/metric"
	"github.com/spillway-proxy/spillway/filter/internal/usage"
	"github.com/spillway-proxy/spillway/internal/docpages"
)

// part is what is generated of a file: all that stands between two lines.
type part struct {
	file       string // relative to the repository's root
	begin, end string
	text       string
}

// parts lists all.
func parts(root string) ([]part, error) {
	labels := metric.Labels()
	keys, err := configurationReference(root)
	return []part{
		{"docs/configuration.md", "<!-- configuration:begin -->\n", "<!-- configuration:end -->\n", keys},
		{"config/dialects.go", "// dialects:begin\n", "// dialects:end\n", dialectNames(usage.Describe())},
		{"docs/dialects.md", "<!-- dialects:begin -->\n", "<!-- dialects:end -->\n", dialectTable(usage.Describe())},
		{"docs/filter-state.md", "<!-- filterstate:begin -->\n", "<!-- filterstate:end -->\n", stateTable(filterstate.Table())},
		{"docs/reasons.md", "<!-- reasons:begin -->\n", "<!-- reasons:end -->\n", reasonTables(gate.Table())},
		{"docs/metrics.md", "<!-- metrics:begin -->\n", "<!-- metrics:end -->\n", metricTable(metric.Table())},
		{"envoy/standalone.yaml", "    # stats_tags:begin\n", "    # stats_tags:end\n", tagsInYAML("    ", labels)},
		{"envoy/fleet.yaml", "    # stats_tags:begin\n", "    # stats_tags:end\n", tagsInYAML("    ", labels)},
		{"envoygateway/gateway.yaml", "        # stats_tags:begin\n", "        # stats_tags:end\n", tagsInYAML("        ", labels)},
		{"istio/base/bootstrap.yaml", "        \"stats_tags\": [\n", "        ]\n", tagsInJSON(labels)}, // JSON has no comments
	}, err
}

func main() {
	check := flag.Bool("check", false, "compare the files with the code and write nothing")
	flag.Parse()
	root := "."
	if flag.NArg() > 0 {
		root = flag.Arg(0)
	}
	if err := generate(*check, root); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// generate writes all, the page and what the filter says with it included, or compares.
func generate(check bool, root string) error {
	dashboard, err := buildPage(os.DirFS(filepath.Join(root, pageSources)))
	if err != nil {
		return err
	}
	policy := part{"filter/internal/page/page.go", "// policy:begin\n", "// policy:end\n", dashboard.header()}
	all, err := parts(root)
	if err != nil {
		return err
	}
	navigation, err := navigationParts(root)
	if err != nil {
		return err
	}
	return errors.Join(dashboard.write(check, root), run(check, root, slices.Concat(all, navigation, []part{policy})))
}

// run writes all parts, or compares them with the files if check is set. Its error names every file that isn't as it should be.
func run(check bool, root string, parts []part) error {
	var all []error
	for _, p := range parts {
		all = append(all, p.write(check, filepath.Join(root, p.file)))
	}
	return errors.Join(all...)
}

func (p part) write(check bool, file string) error {
	have, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	want, err := p.replace(have)
	switch {
	case err != nil:
		return fmt.Errorf("%q: %w", file, err)
	case bytes.Equal(have, want):
		return nil
	case check:
		return fmt.Errorf("%q is out of date; run: make docs", file)
	default:
		return os.WriteFile(file, want, 0o644)
	}
}

// replace puts the text between its borders and leaves the rest as it is.
func (p part) replace(have []byte) ([]byte, error) {
	replaced, ok := docpages.Replace(string(have), p.begin, p.end, p.text)
	if !ok {
		return nil, fmt.Errorf("no place for what is generated: want the lines %q and %q", p.begin, p.end)
	}
	return []byte(replaced), nil
}
