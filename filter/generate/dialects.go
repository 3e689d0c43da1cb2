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
		fmt.Fprintf(&b, "| `%s` | %s | %s | `%s` | %s | %s |\n",
			d.Name, list(d.Paths), list(d.Operations), d.Provider, list(d.Bounds), counts(d.Reports))
	}
	return b.String()
}

// dialectNames are the words that the configuration takes for dialects and operations, in Go.
func dialectNames(dialects []usage.Description) string {
	var names, operations []string
	for _, d := range dialects {
		names = append(names, d.Name)
		for _, operation := range d.Operations {
			if !slices.Contains(operations, operation) {
				operations = append(operations, operation)
			}
		}
	}
	names = append(names, usage.OperationOther)
	operations = append(operations, usage.OperationModels, usage.OperationOther)
	return variable("Dialects", `are the API dialects that an operation can have. "other" passes a request on unread.`, names) +
		variable("operationNames", "are the operations that a limit can match, as in the filter state gen_ai.operation.name.", operations) + "\n"
}

// variable declares a list of words in Go.
func variable(name, is string, words []string) string {
	return fmt.Sprintf("\n// %s %s\nvar %s = []string{\n\t\"%s\",\n}\n", name, is, name, strings.Join(words, "\",\n\t\""))
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
		if slices.Equal(alike, []string{""}) { // the document itself
			groups = append(groups, list(same))
		} else {
			groups = append(groups, list(alike)+": "+list(same))
		}
		objects = others
	}
	return strings.Join(groups, "; ")
}
