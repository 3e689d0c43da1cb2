package usage

// dialects is the table of all dialects. Their order is that of the documentation; no other depends on it.
var dialects = [...]*Dialect{
	chat,
	completions,
	embeddings,
	responses,
	images,
	audio,
	messages,
	gemini,
	ollama, ollamaEmbeddings,
}

// route are paths of a dialect. Of those that fit, the one with the longest suffix counts, and of equal ones the first.
type route struct {
	suffix    string // what the path ends in
	within    string // what must stand before it, in lower case; "": anything
	operation string // "": the dialect's
	unread    bool   // bodies are not read: it is another API's, or costs no tokens
}

// byName gives the dialect that the configuration calls by that name; nil if there is none.
func byName(name string) *Dialect {
	for _, d := range dialects {
		if d.Name == name {
			return d
		}
	}
	return nil
}
