package clienttest

import "slices"

// What the server is told to answer. The calls have 1 token for each name and 1 for each 4 characters of arguments.
const (
	promptTokens = 21
	cachedTokens = 5
	dimensions   = 16

	answer       = "the gates are open"
	answerTokens = 4

	callsHeader = `[{"name":"turn_gate","arguments":{"gate":3,"by":"a \"quarter\" turn \u2013 [DONE]"}},{"name":"level","arguments":{}}]`
	callTokens  = 1 + 13 + 1 + 1
)

// turnArguments are those of the first call; its characters are as the model wrote them.
const turnArguments = `{"gate":3,"by":"a \"quarter\" turn \u2013 [DONE]"}`

var (
	calls = []toolCall{{"turn_gate", turnArguments}, {"level", "{}"}}
	tools = []string{"turn_gate", "level"}
)

// flow is a way to use an API.
type flow struct {
	name, operation string
	headers         map[string]string
	want            seen
	tokens          int // of the answer, as the filter must know them
}

var (
	saying  = map[string]string{"x-sim-content": answer}
	calling = map[string]string{"x-sim-tool-calls": callsHeader}
)

// flows are all that the clients do; the names are what they know them by. A stream of chat chunks has one for each token,
// and one more for the usage where it was asked for; one of named events has more around them, and none for a call's name.
var flows = []flow{
	{"chat", "chat", saying, withUsage(said("stop"), answerTokens), answerTokens},
	{"chat stream", "chat", saying, chunks(said("stop"), answerTokens), answerTokens},
	{"chat stream, include_usage", "chat", saying, lastChunk(said("stop"), answerTokens), answerTokens},
	{"chat stream, include_usage false", "chat", saying, chunks(said("stop"), answerTokens), answerTokens},
	{"chat tools", "chat", calling, withUsage(called("tool_calls"), callTokens), callTokens},
	{"chat tools stream", "chat", calling, chunks(called("tool_calls"), callTokens), callTokens},
	{"chat tools stream, include_usage", "chat", calling, lastChunk(called("tool_calls"), callTokens), callTokens},
	{"completions stream", "completions", saying, chunks(said("stop"), answerTokens), answerTokens},
	{"completions stream, include_usage", "completions", saying, lastChunk(said("stop"), answerTokens), answerTokens},
	{"responses", "responses", saying, withUsage(said("completed"), answerTokens), answerTokens},
	{"responses stream", "responses", saying, events(said("completed"), answerTokens, 8), answerTokens},
	{"responses tools stream", "responses", calling, events(called("completed"), callTokens, 3+3*2-2), callTokens},
	{"messages", "messages", saying, withUsage(said("end_turn"), answerTokens), answerTokens},
	{"messages stream", "messages", saying, events(said("end_turn"), answerTokens, 5), answerTokens},
	{"messages tools", "messages", calling, withUsage(called("tool_use"), callTokens), callTokens},
	{"messages tools stream", "messages", calling, events(called("tool_use"), callTokens, 3+2*2-2), callTokens},
	{"embedding", "embeddings", nil, withUsage(embedded(1), 0), 0},
	{"embeddings of a batch", "embeddings", nil, withUsage(embedded(3), 0), 0},
}

func flowByName(name string) flow {
	return flows[slices.IndexFunc(flows, func(f flow) bool { return f.name == name })]
}

func said(finish string) seen { return seen{Content: answer, Finish: finish} }

func called(finish string) seen { return seen{Calls: calls, Finish: finish} }

// embedded is a number of equal vectors, whose first number is the cosine of 0 times the square root of 2/16.
func embedded(n int) seen { return seen{Vectors: slices.Repeat([]string{"0.35355"}, n)} }

// withUsage adds the report of the usage.
func withUsage(s seen, completion int64) seen {
	s.Reports, s.Prompt, s.Completion, s.Total = 1, promptTokens, completion, promptTokens+completion
	if s.Vectors == nil {
		s.Cached = cachedTokens
	}
	return s
}

// chunks is a stream of so many chunks, without a report.
func chunks(s seen, n int) seen {
	s.Chunks = n
	return s
}

// lastChunk is a stream whose last chunk is the report.
func lastChunk(s seen, n int) seen {
	s = withUsage(s, int64(n))
	s.Chunks, s.Empty = n+1, 1
	return s
}

// events is a stream of named events: one for each token, and some more around them.
func events(s seen, completion int64, more int) seen {
	s = withUsage(s, completion)
	s.Chunks = int(completion) + more
	return s
}
