package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spillway-proxy/spillway/filter/internal/usage"
)

// dialectTable is the table of dialects in Markdown.
func dialectTable(dialects []usage.Description) string {
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
