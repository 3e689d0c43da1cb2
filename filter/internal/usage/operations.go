package usage

import (
	"strings"

	"github.com/spillway-proxy/spillway/config"
)

// The operations that have no dialect: their bodies are not read.
const (
	OperationModels = "models"
	OperationOther  = "other"
)

var dialects = []Dialect{chat, completions, embeddings, responses, messages, gemini}

// builtin is looked through in order: a longer suffix stands before its own end.
var builtin = []route{
	{"/chat/completions", chat},
	{"/completions", completions},
	{"/embeddings", embeddings},
	{"/responses", responses},
	{"/v1/messages", messages},
	{":generateContent", gemini},
	{":streamGenerateContent", gemini},
	{":rawPredict", messages},
	{":streamRawPredict", messages},
}

type route struct {
	suffix  string
	dialect Dialect
}

// Operations finds the dialect of a path.
type Operations struct {
	routes []route
}

// NewOperations puts the configured paths ahead of the built-in ones. A dialect this build can't read maps to none.
func NewOperations(configured []config.Operation) *Operations {
	o := &Operations{}
	for _, c := range configured {
		o.routes = append(o.routes, route{c.Path, byName(c.Dialect)})
	}
	o.routes = append(o.routes, builtin...)
	return o
}

// Find gives the dialect of a request's path (its query is ignored) and the name of its operation; the dialect is nil
// where bodies are not read.
func (o *Operations) Find(path string) (Dialect, string) {
	path, _, _ = strings.Cut(path, "?")
	for _, r := range o.routes {
		if !strings.HasSuffix(path, r.suffix) || r.dialect == messages && strings.HasSuffix(path, "Predict") &&
			!strings.Contains(path, "/publishers/anthropic/") { // Vertex AI's other publishers have APIs of their own
			continue
		}
		if r.dialect == nil {
			return nil, OperationOther
		}
		return r.dialect, r.dialect.Operation()
	}
	if strings.HasSuffix(path, "/models") || strings.Contains(path, "/models/") {
		return nil, OperationModels
	}
	return nil, OperationOther
}

func byName(name string) Dialect {
	for _, d := range dialects {
		if d.Name() == name {
			return d
		}
	}
	return nil
}
