// Command dialects writes the table of dialects into README.md, or the file given, between two comments:
//
//	go run ./filter/dialects
//
// With -check it compares the table there with what it would write, and exits with status 1 if they differ.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spillway-proxy/spillway/filter/internal/usage"
)

// The table's borders in the file.
const (
	begin = "<!-- dialects:begin -->\n"
	end   = "<!-- dialects:end -->\n"
)

func main() {
	check := flag.Bool("check", false, "compare the file's table with the code and write nothing")
	flag.Parse()
	if err := run(*check, flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run writes the table into the file, or compares it with the file's if check is set.
func run(check bool, file string) error {
	if file == "" {
		file = "README.md"
	}
	have, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	want, err := replace(have, render(usage.Describe()))
	switch {
	case err != nil:
		return fmt.Errorf("%q: %w", file, err)
	case bytes.Equal(have, want):
		return nil
	case check:
		return fmt.Errorf("the table of dialects in %q is out of date; run: go run ./filter/dialects", file)
	default:
		return os.WriteFile(file, want, 0o644)
	}
}

// replace puts the table between the borders and leaves the rest of the text as it is.
func replace(text []byte, table string) ([]byte, error) {
	before, rest, begins := bytes.Cut(text, []byte(begin))
	_, after, ends := bytes.Cut(rest, []byte(end))
	if !begins || !ends {
		return nil, fmt.Errorf("no place for the table of dialects: want the lines %q and %q", begin, end)
	}
	return slices.Concat(before, []byte(begin), []byte(table), []byte(end), after), nil
}

// render is the table in Markdown.
func render(dialects []usage.Description) string {
	var b strings.Builder
	b.WriteString("| Dialect | Paths | `gen_ai.operation.name` | Provider | Output bound from | Usage from |\n|---|---|---|---|---|---|\n")
	for _, d := range dialects {
		fmt.Fprintf(&b, "| `%s` | %s | `%s` | `%s` | %s | %s |\n",
			d.Name, list(d.Paths), d.Operation, d.Provider, list(d.Bounds), counts(d.Reports))
	}
	return b.String()
}

func list(names []string) string {
	if len(names) == 0 {
		return "–"
	}
	return "`" + strings.Join(names, "`, `") + "`"
}

// counts are the paths of counts. Objects that have the same ones share them: "`usage`, `x_groq.usage`: `total_tokens`".
func counts(paths []string) string {
	var objects []string
	members := map[string][]string{}
	for _, path := range paths {
		dot := strings.LastIndexByte(path, '.')
		object := path[:max(dot, 0)]
		if members[object] == nil {
			objects = append(objects, object)
		}
		members[object] = append(members[object], path[dot+1:])
	}
	var groups []string
	for len(objects) > 0 {
		same := members[objects[0]]
		var alike, others []string
		for _, object := range objects {
			if slices.Equal(members[object], same) {
				alike = append(alike, object)
			} else {
				others = append(others, object)
			}
		}
		groups = append(groups, list(alike)+": "+list(same))
		objects = others
	}
	return strings.Join(groups, "; ")
}
