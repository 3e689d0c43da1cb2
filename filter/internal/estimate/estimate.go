// Package estimate learns how many tokens a request will use, from those that went before.
//
// Three things are learned for each model: the prompt's tokens per byte of request body, the length of the output, and the
// output's tokens per byte of text. An estimate sizes a reservation, and stands in for a report that is missing; it refuses
// nobody for good.
//
// # Who is believed
//
// Clients choose their prompts, and with them what is learned, so nothing that one of them teaches counts for another. A subject's
// own answers count for itself at once: its level is an average that rises faster than it falls, and at most doubles what
// it believes of one answer. For strangers a model's answers count once Voices subjects have been heard, with one voice each, the
// eight that were heard last: of the lengths the second longest (a high quantile that one voice can't move), of the ratios the
// middle one. Whoever makes subjects up is many voices. So what they say of lengths has bounds (below), and for a subject that has
// answers of its own it counts only where it is shorter than the start. What is older than memory is forgotten.
//
// # Bounds
//
// A length without a bound of the request's own is at least Start.OutputTokens until the model's length is known, and an eighth
// of that then, whatever was learned; of a stranger it is four times that at most. A prompt is at least half of Start.PromptTokensPerByte and at most a token a byte (or
// what Start says, if that is more): no tokenizer makes more tokens than bytes.
//
// What is learned is a worker's own and lives in its memory, in two tables of fixed size (4-way, the least recently
// learned entry goes): reservations are settled by the real use, so workers need not agree, and a worker that starts anew
// learns again. Sharing it would cost two host calls a request. Time comes in as an argument; a clock that steps back makes what
// is known look younger.
package estimate

import (
	"math"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

const (
	subjectSets = 1024
	modelSets   = 64
	ways        = 4

	// Voices is how many subjects have to be heard before a model's answers say what to expect of a stranger's.
	Voices   = 5
	listened = 8 // subjects whose voice counts, those that were heard last

	rise = 0.5 // weight of a sample above the level
	fall = 0.1 // weight of a sample below it
	leap = 2   // times its level is the most that is believed of a sample

	memory = 15 * time.Minute // for which what was learned counts

	leastShare = 8  // of Start.OutputTokens, the least length that is expected where no bound is stated
	heardTimes = 4  // Start.OutputTokens, the most that is expected of a stranger
	mostTimes  = 16 // Start.OutputTokens, the longest answer that is reckoned with where no bound is stated
	overLevel  = 4  // times the expected length, the same where that is more

	most = 1e12 // tokens
)

// Start is where learning starts.
type Start struct {
	PromptTokensPerByte float64
	OutputTokens        int64
}

// Length is what to expect of an output, in tokens.
type Length struct {
	Likely int64 // what most answers stay below
	Most   int64 // what has to be reckoned with where many are under way at once; at least Likely
}

// The kinds of what is learned.
const (
	promptRatio = iota
	outputLength
	textRatio
	kinds
)

// levels are what one subject's answers of one model are like; 0: not known.
type levels [kinds]float32

// Learned is what one worker knows.
type Learned struct {
	subjects [subjectSets * ways]subject
	models   [modelSets * ways]model
}

// subject is one subject's answers of one model.
type subject struct {
	id     uint64 // 0: free
	at     uint32 // second in which it was last heard
	levels levels
}

// model is the subjects that were heard last about it.
type model struct {
	id     uint64 // 0: free
	voices [listened]voice
}

type voice struct {
	who    uint32 // 0: none
	at     uint32
	levels levels
}

// Prompt estimates the prompt tokens of a body of that many bytes. model is a hash of the model's name, subject one of the
// model and the subject.
func (l *Learned) Prompt(now clock.Moment, model, subject uint64, bytes int64, start Start) int64 {
	ratio, known := l.ratio(now, model, subject, promptRatio)
	if !known {
		ratio = start.PromptTokensPerByte
	}
	ratio = min(max(ratio, start.PromptTokensPerByte/2), max(start.PromptTokensPerByte, 1))
	return whole(ratio * float64(max(bytes, 0)))
}

// Output estimates the output tokens of a request. bound is the request's own bound, 0 for none.
func (l *Learned) Output(now clock.Moment, model, subject uint64, bound int64, start Start) Length {
	tokens := float64(start.OutputTokens)
	if level, known := l.heard(now, model, outputLength); known {
		tokens = min(max(level, tokens/leastShare), tokens*heardTimes)
	}
	if own, known := l.own(now, subject, outputLength); known {
		tokens = max(own, min(tokens, float64(start.OutputTokens))) // what others make long is no news of it
	}
	length := Length{Likely: whole(max(tokens, 1))}
	length.Most = max(mostTimes*min(start.OutputTokens, most), overLevel*length.Likely)
	if bound > 0 {
		length.Likely, length.Most = min(length.Likely, bound), min(length.Most, bound)
	}
	return length
}

// whole rounds up, but for what levels lack in precision.
func whole(tokens float64) int64 {
	tokens = min(tokens, most)
	return int64(math.Ceil(tokens - min(tokens/1e6, 0.01)))
}

// Text gives the tokens of an output of that many bytes; not known before the subject's first response, or those of
// several others.
func (l *Learned) Text(now clock.Moment, model, subject uint64, bytes int64) (tokens int64, known bool) {
	ratio, known := l.ratio(now, model, subject, textRatio)
	return int64(math.Round(min(min(ratio, 1)*float64(max(bytes, 0)), most))), known
}

// LearnPrompt takes what a body of that many bytes really was.
func (l *Learned) LearnPrompt(now clock.Moment, model, subject uint64, bytes, tokens int64) {
	if bytes > 0 && tokens > 0 {
		l.learn(now, model, subject, promptRatio, float64(tokens)/float64(bytes))
	}
}

// LearnOutput takes how long the output really was.
func (l *Learned) LearnOutput(now clock.Moment, model, subject uint64, tokens int64) {
	if tokens >= 0 {
		l.learn(now, model, subject, outputLength, float64(max(tokens, 1)))
	}
}

// LearnText takes what an output of that many bytes really was.
func (l *Learned) LearnText(now clock.Moment, model, subject uint64, bytes, tokens int64) {
	if bytes > 0 && tokens > 0 {
		l.learn(now, model, subject, textRatio, float64(tokens)/float64(bytes))
	}
}

// ratio is the subject's own, or else what several others say.
func (l *Learned) ratio(now clock.Moment, model, subject uint64, kind int) (float64, bool) {
	if own, known := l.own(now, subject, kind); known {
		return own, true
	}
	return l.heard(now, model, kind)
}

func (l *Learned) own(now clock.Moment, id uint64, kind int) (float64, bool) {
	for i := range l.set(id) {
		if s := &l.set(id)[i]; s.id == id && fresh(now, s.at) {
			return float64(s.levels[kind]), s.levels[kind] > 0
		}
	}
	return 0, false
}

// heard is what the voices of a model say, if there are enough of them.
func (l *Learned) heard(now clock.Moment, id uint64, kind int) (float64, bool) {
	set := l.modelSet(id)
	for i := range set {
		if m := &set[i]; m.id == id {
			return m.say(now, kind)
		}
	}
	return 0, false
}

// say is what the voices say, if there are enough of them.
func (m *model) say(now clock.Moment, kind int) (float64, bool) {
	var said [listened]float32 // in rising order
	n := 0
	for i := range m.voices {
		v := &m.voices[i]
		level := v.levels[kind]
		if v.who == 0 || !fresh(now, v.at) || level <= 0 {
			continue
		}
		at := n
		for ; at > 0 && said[at-1] > level; at-- {
			said[at] = said[at-1]
		}
		said[at] = level
		n++
	}
	switch {
	case n < Voices:
		return 0, false
	case kind == outputLength:
		return float64(said[n-2]), true
	}
	return float64(said[n/2]), true
}

func (l *Learned) learn(now clock.Moment, model, id uint64, kind int, sample float64) {
	own := l.subject(id)
	if !fresh(now, own.at) {
		own.levels = levels{}
	}
	own.at = uint32(now.Seconds())
	own.levels[kind] = next(own.levels[kind], float32(min(sample, most)))
	v := l.model(model).voice(uint32(id>>32)|1, own.at)
	if !fresh(now, v.at) {
		v.levels = levels{}
	}
	v.at, v.levels[kind] = own.at, own.levels[kind]
}

// next moves a level toward a sample.
func next(level, sample float32) float32 {
	switch {
	case level == 0:
		return sample
	case sample > level:
		return level + rise*(min(sample, leap*level)-level)
	default:
		return level + fall*(sample-level)
	}
}

// voice finds a subject's voice, or gives it the place of the one that was heard longest ago.
func (m *model) voice(who, at uint32) *voice {
	oldest := &m.voices[0]
	for i := range m.voices {
		v := &m.voices[i]
		if v.who == who {
			return v
		}
		if oldest.who != 0 && (v.who == 0 || at-v.at > at-oldest.at) {
			oldest = v
		}
	}
	*oldest = voice{who: who, at: at}
	return oldest
}

func (l *Learned) set(id uint64) []subject {
	first := int(id%subjectSets) * ways
	return l.subjects[first : first+ways]
}

func (l *Learned) modelSet(id uint64) []model {
	first := int(id%modelSets) * ways
	return l.models[first : first+ways]
}

// subject finds a subject's entry, or begins it in the place of the last one of its set; it is the first from now on.
func (l *Learned) subject(id uint64) *subject {
	set, at := l.set(id), 0
	if set[0].id == id { // as mostly: nothing is moved
		return &set[0]
	}
	for at < ways-1 && set[at].id != id {
		at++
	}
	found := set[at]
	if found.id != id {
		found = subject{id: id}
	}
	copy(set[1:at+1], set[:at])
	set[0] = found
	return &set[0]
}

// model does that with a model's.
func (l *Learned) model(id uint64) *model {
	set, at := l.modelSet(id), 0
	if set[0].id == id {
		return &set[0]
	}
	for at < ways-1 && set[at].id != id {
		at++
	}
	found := set[at]
	if found.id != id {
		found = model{id: id}
	}
	copy(set[1:at+1], set[:at])
	set[0] = found
	return &set[0]
}

// fresh says that what was heard in a second is not forgotten yet.
func fresh(now clock.Moment, at uint32) bool {
	return int32(uint32(now.Seconds())-at) < int32(memory/time.Second)
}
