// Package estimate learns how many tokens a request will use, from those that went before.
//
// Three things are learned: the prompt's tokens per byte of request body, by model; the length of the output, by model and
// subject, with the model alone as the fallback; and the output's tokens per byte of text, by model. All are exponentially weighted moving averages that rise faster
// than they fall, so that a reservation is rather a little too big. A request's own output bound caps the estimate.
//
// What is learned is a worker's own and lives in its memory, in three tables of fixed size (4-way, the least recently
// learned entry goes): an estimate only sizes a reservation, which is settled by the real use, so workers need not
// agree, and a worker that starts anew learns from its first response. Sharing it would cost two host calls a request.
package estimate

import "math"

const (
	sets = 1024
	ways = 4

	rise = 0.5 // weight of a sample above the average
	fall = 0.1 // weight of a sample below it
)

// Start is where learning starts.
type Start struct {
	PromptTokensPerByte float64
	OutputTokens        int64
}

// Learned is what one worker knows.
type Learned struct {
	ratios  table // model → tokens per byte
	outputs table // model, or model and subject → tokens
	texts   table // model → tokens per byte of output
}

// Prompt estimates the prompt tokens of a body of that many bytes. model is a hash of the model's name.
func (l *Learned) Prompt(model uint64, bytes int64, start Start) int64 {
	ratio, known := l.ratios.get(model)
	if !known {
		ratio = start.PromptTokensPerByte
	}
	return int64(math.Ceil(min(ratio*float64(max(bytes, 0)), most)))
}

// Output estimates the output tokens of a request. subject is a hash of model and subject; bound is the request's own
// bound, 0 for none.
func (l *Learned) Output(model, subject uint64, bound int64, start Start) int64 {
	tokens, known := l.outputs.get(subject)
	if !known {
		tokens, known = l.outputs.get(model)
	}
	if !known {
		tokens = float64(start.OutputTokens)
	}
	estimate := int64(math.Ceil(min(tokens, most)))
	if bound > 0 {
		return min(estimate, bound)
	}
	return estimate
}

// Text gives the tokens of an output of that many bytes; not known before the model's first response.
func (l *Learned) Text(model uint64, bytes int64) (tokens int64, known bool) {
	ratio, known := l.texts.get(model)
	return int64(math.Round(min(ratio*float64(max(bytes, 0)), most))), known
}

// LearnText takes what an output of that many bytes really was.
func (l *Learned) LearnText(model uint64, bytes, tokens int64) {
	if bytes > 0 && tokens > 0 {
		l.texts.learn(model, min(float64(tokens)/float64(bytes), most))
	}
}

const most = 1e12 // tokens

// LearnPrompt takes what a body of that many bytes really was.
func (l *Learned) LearnPrompt(model uint64, bytes, tokens int64) {
	if bytes > 0 && tokens > 0 {
		l.ratios.learn(model, min(float64(tokens)/float64(bytes), most))
	}
}

// LearnOutput takes how long the output really was.
func (l *Learned) LearnOutput(model, subject uint64, tokens int64) {
	if tokens >= 0 {
		l.outputs.learn(model, float64(tokens))
		l.outputs.learn(subject, float64(tokens))
	}
}

// table is a set-associative table of averages; in a set the most recently learned entry comes first.
type table struct {
	entries [sets * ways]entry
}

type entry struct {
	id      uint64 // 0: free
	average float32
}

func (t *table) set(id uint64) []entry {
	first := int(id%sets) * ways
	return t.entries[first : first+ways]
}

func (t *table) get(id uint64) (float64, bool) {
	for _, e := range t.set(id) {
		if e.id == id {
			return float64(e.average), true
		}
	}
	return 0, false
}

func (t *table) learn(id uint64, sample float64) {
	set := t.set(id)
	at := 0
	for at < ways-1 && set[at].id != id {
		at++
	}
	updated := entry{id, float32(sample)}
	if set[at].id == id {
		weight := float32(fall)
		if float32(sample) > set[at].average {
			weight = rise
		}
		updated.average = set[at].average + weight*(float32(sample)-set[at].average)
	}
	copy(set[1:at+1], set[:at])
	set[0] = updated
}
