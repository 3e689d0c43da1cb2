package usage

import "strings"

// fromAzure takes the model that a path of Azure's names, where a body may leave it out.
func fromAzure(path string) Request { return routed(deployment(path)) }

// deployment reads Azure's paths, …/deployments/<deployment>/chat/completions, and those of old, …/engines/<model>/completions, in
// which LiteLLM takes the model from the path, too. Behind other paths there is none. It is not sure where servers may read different
// ones.
func deployment(path string) (name string, sure bool) {
	path = withoutQuery(path)
	if plain(path) {
		return deployed(path), true
	}
	readings := read(path)
	name, sure = deployed(readings[1]), true
	for _, reading := range readings {
		sure = sure && deployed(reading) == name
	}
	return name, sure
}

// deployed gives the name in one reading of a path.
func deployed(path string) string {
	const azure, old = "/deployments/", "/engines/"
	folded := lower(path)
	at, before := lastSegment(folded, azure), azure
	if at < 0 {
		at, before = lastSegment(folded, old), old
	}
	if at < 0 {
		return ""
	}
	operation := operationOf(path)
	whole := operation != ""
	path = path[:max(len(path)-len(operation), at)]
	if len(path) < at+len(before) {
		return ""
	}
	name := path[at+len(before):]
	switch {
	case before == old && (!whole || name == "v1" || strings.HasSuffix(name, "/v1")): // Docker's, which are not models
		return ""
	case whole: // LiteLLM's names may have slashes
		name = strings.TrimSuffix(name, "/extensions")
	default:
		name, _, _ = strings.Cut(name, "/")
	}
	return name[:min(len(name), maxModel)]
}

// lastSegment gives where a segment with both its slashes stands last in a path; -1: nowhere. Paths have few slashes, so it is the
// fastest to look at these.
func lastSegment(path, segment string) int {
	for i := len(path) - len(segment); i >= 0; i-- {
		if path[i] == '/' && path[i:i+len(segment)] == segment {
			return i
		}
	}
	return -1
}

// operationOf gives the end of a path that names one of OpenAI's operations: a deployment's name is no part of it.
func operationOf(path string) (longest string) {
	for _, routes := range [...][]route{chatRoutes, completionsRoutes, embeddingsRoutes, responsesRoutes, imagesRoutes, audioRoutes} {
		for i := range routes {
			if suffix := routes[i].suffix; len(suffix) > len(longest) && hasSuffixFold(path, suffix) {
				longest = suffix
			}
		}
	}
	return longest
}
