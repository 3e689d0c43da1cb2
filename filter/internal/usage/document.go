package usage

import "github.com/spillway-proxy/spillway/filter/internal/jsonscan"

// document collects one JSON response, or one event of a stream.
type document struct {
	names      *names         // the reader's
	model      string         // of the whole response so far
	reports    [places]report // by place
	place      int            // of the report being read
	parts      [3]int64       // counts that a dialect adds up by itself
	iterations iterations
	modality   modality
	size       int64 // bytes of it
	output
	instead output // what came as a whole message
	delta   bool   // the stream has had deltas, so that a message says nothing new
	final   bool
	failure int
	absurd  bool
	roled   bool  // an event before it named a role
	counted bool  // it brings a count
	choices bool  // it has OpenAI's list of choices
	choice  bool  // and at least one of them
	role    bool  // it names a role
	bare    bool  // it is of a kind that brings no output
	calls   bool  // it has calls of tools, of whose arguments no more is known than its own size
	begun   bool  // it says that others follow it
	before  int64 // pieces of output in those before it
}

// named takes the model's name. The first one stands; the others of a stream need no copy.
func (d *document) named(text []byte) {
	if d.model == "" {
		d.model = d.names.of(text)
	}
}

// output is what pieces of output amount to.
type output struct {
	outputs int64
	text    int64 // bytes
}

// take takes a piece, if it isn't empty.
func (o *output) take(size int, text int64) {
	if size > 0 {
		o.outputs++
		o.text += text
	}
}

// said takes a piece of text.
func (d *document) said(v value) { d.output.take(v.size, int64(v.size)) }

// media takes a piece of sound or of a picture, in base64 or as a URL of data.
func (d *document) media(v value) { d.output.take(v.size, mediaText(v.size)) }

// maxCount is how many bytes of a text are kept that may be a count. protobuf's JSON writes 64-bit numbers as texts.
const maxCount = 24

// keepCounts lets the paths of counts, by the first and the last of their IDs, keep texts.
func keepCounts(first, last int, paths []jsonscan.Path) []jsonscan.Path {
	for i := range paths {
		if id := paths[i].ID; first <= id && id <= last {
			paths[i].Keep = maxCount
		}
	}
	return paths
}

// count reads a number of tokens, be it in quotes. What no number of tokens can be is noted, and not believed.
func (d *document) count(v value) int64 {
	if v.kind != jsonscan.Number && (v.kind != jsonscan.String || v.size > len(v.text) || v.size == 0) {
		return Absent
	}
	n, ok := jsonscan.Int(v.text)
	if !ok {
		d.absurd = d.absurd || v.kind == jsonscan.Number || v.text[0] == '-'
		return Absent
	}
	d.counted = true
	return n
}

// The places of a report. What stands in an earlier one counts; the others are for want of it.
const (
	standardPlace = iota
	vendorPlace
	choicePlace
	places
)

// The counts of a report, as the IDs of their paths. A dialect's own IDs begin at ownID.
const (
	usePrompt = iota + 1
	useCompletion
	useTotal
	useCached
	useReasoning
	useCacheWrite
	usePromptAudio
	useOutputAudio
	useElseCached // for want of the count in its standard place
	useElseReasoning
	useElseCacheWrite
	ownID
)

// report is one report of tokens, as it is said.
type report struct {
	Tokens
	promptAudio, outputAudio int64
	there                    bool // it holds at least one of the prompt's, the completion's and the total count
}

// noReport is a report of nothing.
var noReport = report{Tokens: none, promptAudio: Absent, outputAudio: Absent}

// take takes a count that is there. One of prompt, completion and total makes it a report.
func (r *report) take(id int, n int64) {
	if n == Absent {
		return
	}
	r.there = r.there || id <= useTotal
	switch id {
	case usePrompt:
		r.Prompt = n
	case useCompletion:
		r.Completion = n
	case useTotal:
		r.Total = n
	case useCached:
		r.Cached = n
	case useReasoning:
		r.Reasoning = n
	case useCacheWrite:
		r.CacheWrite = n
	case usePromptAudio:
		r.promptAudio = n
	case useOutputAudio:
		r.outputAudio = n
	case useElseCached:
		orElse(&r.Cached, n)
	case useElseReasoning:
		orElse(&r.Reasoning, n)
	case useElseCacheWrite:
		orElse(&r.CacheWrite, n)
	}
}

// orElse sets a count that is Absent.
func orElse(count *int64, n int64) {
	if *count == Absent {
		*count = n
	}
}

// meant gives the report the meaning of the package's comment. Some servers leave a part out of the prompt or the
// completion that their total has; outputs says that there can be a completion.
func (r *report) meant(outputs bool) Tokens {
	t := r.Tokens
	if r.promptAudio != Absent || r.outputAudio != Absent {
		t.Audio, t.AudioOutput = sum(r.promptAudio, r.outputAudio), max(r.outputAudio, 0)
	}
	switch {
	case t.Prompt == Absent || t.Completion == Absent:
		return t
	case t.Total == Absent:
		if t.Reasoning > t.Completion { // which can't be a part of it, then
			t.Completion = sum(t.Completion, t.Reasoning)
		}
		if r.promptAudio > t.Prompt { // nor can that
			t.Prompt = sum(t.Prompt, r.promptAudio)
		}
		return t
	}
	if gap := t.Total - t.Prompt - t.Completion; gap > 0 {
		if gap == r.promptAudio || !outputs {
			t.Prompt += gap
		} else {
			t.Completion += gap
		}
	}
	t.Total = sum(t.Prompt, t.Completion)
	return t
}

// sum adds up counts, without those that are Absent, to no more than a single one can be.
func sum(counts ...int64) int64 {
	const most = 1e15
	var n int64
	for _, count := range counts {
		n += max(count, 0)
	}
	return min(n, most)
}
