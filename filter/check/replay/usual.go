package replay

import (
	"fmt"
	"net/http"
)

// usual is what requests of a model use, as a moving average.
type usual struct{ prompt, completion, duration float64 }

// maxModels is of how many models that is known.
const maxModels = 1000

// expects fills in what the log doesn't say of a request that was refused then, by what others of its model used, and learns from those that passed.
func (r *run) expects(x *request) {
	u := r.usual[x.Model]
	if u == nil {
		u = &usual{}
		if len(r.usual) < maxModels {
			r.usual[x.Model] = u
		}
	}
	if x.refused() {
		if x.Prompt == 0 {
			x.Prompt = number(u.prompt)
		}
		x.Completion, x.DurationMS, x.QueueMS, x.Status = number(u.completion), number(u.duration), 0, http.StatusOK
		return
	}
	if x.Status == 0 || x.Status > 599 {
		x.Status = http.StatusOK // the client has left; what it got was counted
	}
	if x.Status != http.StatusOK {
		return
	}
	weight := 0.05
	if u.duration == 0 {
		weight = 1
	}
	u.prompt += weight * (float64(x.Prompt) - u.prompt)
	u.completion += weight * (float64(x.Completion) - u.completion)
	u.duration += weight * (float64(x.DurationMS-x.QueueMS) - u.duration)
}

// form is how requests of an operation look.
type form struct {
	method, path string
	usage        string // of the answer; "": it has no tokens
}

const (
	openAI    = `{"usage":{"prompt_tokens":%[1]d,"completion_tokens":%[2]d,"total_tokens":%[5]d,"prompt_tokens_details":{"cached_tokens":%[3]d},"completion_tokens_details":{"reasoning_tokens":%[4]d}}}`
	responses = `{"usage":{"input_tokens":%[1]d,"output_tokens":%[2]d,"total_tokens":%[5]d,"input_tokens_details":{"cached_tokens":%[3]d},"output_tokens_details":{"reasoning_tokens":%[4]d}}}`
	messages  = `{"usage":{"input_tokens":%[6]d,"output_tokens":%[2]d,"cache_read_input_tokens":%[3]d}}`
)

var forms = map[string]form{
	"chat":             {"POST", "/v1/chat/completions", openAI},
	"completions":      {"POST", "/v1/completions", openAI},
	"embeddings":       {"POST", "/v1/embeddings", openAI},
	"responses":        {"POST", "/v1/responses", responses},
	"messages":         {"POST", "/v1/messages", messages},
	"generate_content": {"POST", "/v1/chat/completions", openAI},
	"images":           {"POST", "/v1/images/generations", openAI},
	"audio":            {"POST", "/v1/audio/transcriptions", openAI},
}

func formOf(l *line) form {
	if f, ok := forms[l.Operation]; ok {
		return f
	}
	f := form{method: "GET", path: "/"}
	if l.Path != "" {
		f.path = l.Path
	}
	return f
}

// answer is the server's, with what it took.
func (f form) answer(x *request) string {
	if x.Status != http.StatusOK || f.usage == "" {
		return "{}"
	}
	cached, reasoning := min(x.Cached, x.Prompt), min(x.Reasoning, x.Completion)
	text := fmt.Sprintf(f.usage+"%[7]s", x.Prompt, x.Completion, cached, reasoning, x.Prompt+x.Completion, x.Prompt-cached, "")
	return text
}
