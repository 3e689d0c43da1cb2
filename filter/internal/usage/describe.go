package usage

import (
	"slices"
	"strings"
)

// Description is what the documentation says of a dialect.
type Description struct {
	Name, Provider string
	Operations     []string // gen_ai.operation.name
	Paths          []string // of requests: suffixes, as in "…/chat/completions"
	Bounds         []string // members of a request that bound its output
	Reports        []string // members of a response that report its tokens
}

// Describe describes all dialects. What a member is for is found out by reading documents that have it alone, so that
// there is no second list to keep.
func Describe() []Description {
	descriptions := make([]Description, 0, len(dialects))
	for _, d := range dialects {
		description := Description{Name: d.Name, Provider: d.Provider, Operations: []string{d.Operation}}
		for i := range d.routes {
			if r := &d.routes[i]; !r.unread {
				description.Paths = append(description.Paths, r.pattern())
				if operation := r.operation; operation != "" && !slices.Contains(description.Operations, operation) {
					description.Operations = append(description.Operations, operation)
				}
			}
		}
		if d.Outputs {
			description.Bounds = those(d.requestPaths.Paths(), func(document []byte) bool { return bounds(d, document) })
		}
		description.Reports = those(d.responsePaths.Paths(), func(document []byte) bool { return reports(d, document) })
		descriptions = append(descriptions, description)
	}
	return descriptions
}

// pattern is the paths of a route.
func (r *route) pattern() string {
	if r.within == "" {
		return "…" + r.suffix
	}
	return "…" + r.within + "…" + r.suffix
}

// those are the paths whose documents have a property.
func those(paths []string, property func(document []byte) bool) (some []string) {
	for _, path := range paths {
		if property(documentOf(path)) {
			some = append(some, path)
		}
	}
	return some
}

// documentOf is a document with the number 1 at the path, and nothing else.
func documentOf(path string) []byte {
	text := "1"
	names := strings.Split(path, ".")
	slices.Reverse(names)
	for _, name := range names {
		if name == "*" {
			text = "[" + text + "]"
		} else {
			text = `{"` + name + `":` + text + "}"
		}
	}
	return []byte(text)
}

func bounds(d *Dialect, document []byte) bool {
	var r RequestReader
	r.Reset(d, Request{}, Form{}, 0)
	r.Write(document)
	return r.Close().OutputBound > 0
}

func reports(d *Dialect, document []byte) bool {
	var r ResponseReader
	r.Reset(d, false)
	r.Write(document)
	r.Close()
	return r.Response().Reported
}
