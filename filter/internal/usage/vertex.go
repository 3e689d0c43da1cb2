package usage

import (
	"slices"
	"strings"
)

// Google's paths, at Google AI and Vertex AI: …/models/<model>:<verb>.

// fromVertex takes the model, which serves whatever the body says, and that the verb is a stream's.
func fromVertex(path string) Request {
	model, verb, sure := modelAndVerb(path)
	r := routed(model, sure)
	r.Stream = isVerb(verb) && strings.HasPrefix(verb, "stream")
	return r
}

// The verbs whose bodies are read.
var verbs = [...]string{"generateContent", "streamGenerateContent", "rawPredict", "streamRawPredict"}

// modelAndVerb reads them. Behind other paths there is neither. It is not sure where servers may
// read different models.
func modelAndVerb(path string) (model, verb string, sure bool) {
	path, _, _ = strings.Cut(path, "?")
	if plain(path) {
		model, verb = splitVerb(path)
		return model, verb, true
	}
	sure = true
	for _, reading := range read(path) {
		switch m, v := splitVerb(reading); {
		case v == "":
		case verb == "" || isVerb(v) && !isVerb(verb):
			model, verb = m, v
		case isVerb(v) && m != model:
			sure = false
		}
	}
	return model, verb, sure
}

func isVerb(verb string) bool { return slices.Contains(verbs[:], verb) }

// splitVerb splits the last segment of a path at the colon before its verb, which is given as the API writes it.
func splitVerb(path string) (model, verb string) {
	segment := path[strings.LastIndexByte(path, '/')+1:]
	colon := strings.LastIndexByte(segment, ':')
	if colon < 0 {
		return "", ""
	}
	model, verb = segment[:colon], segment[colon+1:]
	for _, known := range verbs {
		if strings.EqualFold(verb, known) {
			verb = known
		}
	}
	return model[:min(len(model), maxModel)], verb
}
