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

var dialects = []Dialect{chat, completions, embeddings, responses, images, audio, messages, gemini}

// claude stands in Vertex AI's paths of Anthropic's models. Other publishers have APIs of their own there.
const claude = "/publishers/anthropic/"

// builtin is looked through in order: a longer suffix stands before its own end. Google's other verbs would pass for the
// models that they belong to.
var builtin = []route{
	{suffix: "/chat/completions", dialect: chat},
	{suffix: "/chat/completions/batch", dialect: chat}, // vLLM
	{suffix: "/invocations", dialect: chat},            // of SageMaker, where vLLM tells by the body that it is a chat or a completion
	{suffix: "/completions", dialect: completions},
	{suffix: "/embeddings", dialect: embeddings},
	{suffix: "/responses", dialect: responses},
	{suffix: "/responses/compact", dialect: responses},
	{suffix: "/images/generations", dialect: images},
	{suffix: "/images/edits", dialect: images},
	{suffix: "/images/variations", dialect: images},
	{suffix: "/audio/transcriptions", dialect: audio},
	{suffix: "/audio/translations", dialect: audio},
	{suffix: "/audio/speech", dialect: audio},
	{suffix: "/v1/messages", dialect: messages},
	{suffix: ":generateContent", dialect: gemini},
	{suffix: ":streamGenerateContent", dialect: gemini},
	{suffix: "/count-tokens:rawPredict"}, // Vertex AI's count_tokens
	{suffix: ":rawPredict", within: claude, dialect: messages},
	{suffix: ":streamRawPredict", within: claude, dialect: messages},
	{suffix: ":rawPredict"},
	{suffix: ":streamRawPredict"},
	{suffix: ":predict"},
	{suffix: ":countTokens"},
	{suffix: ":computeTokens"},
	{suffix: ":embedContent"},
	{suffix: ":batchEmbedContents"},
	{suffix: ":batchGenerateContent"},
}

// route leads paths with the suffix, and with what must stand before it, to a dialect; nil: bodies are not read.
type route struct {
	suffix, within string
	dialect        Dialect
	configured     bool
}

// Operations finds the dialect of a path.
type Operations struct {
	routes []route
}

// NewOperations puts the configured paths ahead of the built-in ones. A dialect this build can't read maps to none.
func NewOperations(configured []config.Operation) *Operations {
	o := &Operations{}
	for _, c := range configured {
		r := route{suffix: c.Path, dialect: byName(c.Dialect), configured: true}
		o.routes = append(o.routes, r)
		if r.suffix = read(c.Path)[0]; r.suffix != "" && r.suffix != c.Path { // as the readings of a request's path have it
			o.routes = append(o.routes, r)
		}
	}
	o.routes = append(o.routes, builtin...)
	return o
}

// found is what a reading of a path leads to.
type found struct {
	dialect   Dialect
	operation string
	passes    bool // it has no dialect because the configuration says so
}

// mostGoverned is the rank of what brings output.
const mostGoverned = 4

// rank says how much is governed of what was found.
func (f found) rank() int {
	switch {
	case f.dialect != nil && f.dialect.Outputs():
		return mostGoverned
	case f.dialect != nil:
		return 3
	case f.operation != OperationOther:
		return 2
	case !f.passes:
		return 1
	}
	return 0
}

// Find gives the dialect of a request's path (its query is ignored) and the name of its operation; the dialect is nil
// where bodies are not read. A path that servers may read in several ways is what most is governed of.
func (o *Operations) Find(path string) (Dialect, string) {
	f := o.find(path)
	return f.dialect, f.operation
}

// Unknown says that nothing is known of a path: that its bodies are not read is not what the configuration says.
func (o *Operations) Unknown(path string) bool {
	f := o.find(path)
	return f.dialect == nil && !f.passes
}

func (o *Operations) find(path string) found {
	path, _, _ = strings.Cut(path, "?")
	best := o.match(path)
	if plain(path) && (best.rank() == mostGoverned || !formatted(path)) {
		return best
	}
	last := best
	best = found{nil, OperationOther, true}
	for _, reading := range read(path) {
		if f := o.match(reading); f.rank() > best.rank() {
			best = f
		}
	}
	if last.rank() > best.rank() {
		best = last // by a server that decodes nothing
	}
	return best
}

// match looks one reading of a path up, in any case.
func (o *Operations) match(path string) found {
	for i := range o.routes {
		r := &o.routes[i]
		if !hasSuffixFold(path, r.suffix) || r.within != "" && !strings.Contains(lower(path), r.within) {
			continue
		}
		if r.dialect == nil {
			return found{nil, OperationOther, r.configured}
		}
		return found{r.dialect, r.dialect.Operation(), false}
	}
	if path = lower(path); strings.HasSuffix(path, "/models") || strings.Contains(path, "/models/") {
		return found{nil, OperationModels, false}
	}
	return found{nil, OperationOther, false}
}

func byName(name string) Dialect {
	for _, d := range dialects {
		if d.Name() == name {
			return d
		}
	}
	return nil
}
