package usage

import (
	"bytes"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spillway-proxy/spillway/filter/internal/inplace"
	"github.com/spillway-proxy/spillway/filter/internal/jsonscan"
)

const (
	maxModel     = 256 // bytes of a model's name that are kept
	maxBound     = 64  // bytes of a bound's digits that are kept
	maxScheme    = 5   // bytes of a URL that tell that it is one of data
	maxMediaType = 6   // bytes of a media type that tell a picture
	maxToolType  = 16  // bytes of a tool's type
)

// draft collects a request while its body is read.
type draft struct {
	Request
	names     *names // the reader's
	named     bool   // the body has named a model
	exact     bool   // by the exact name of the member
	ambiguous bool   // and another one
	long      bool   // by a name that was cut
	instead   string // the last name that may serve in its place

	largest   int64 // of the bounds that were given; 0: none
	raised    int64 // what the largest is at least, where there is one
	unlimited bool  // a bound was given that some take for none
	binds     bool  // one was given that no server takes for none
	bounds    int64 // the members that were seen which bound it: a bit for each id
	doubtful  bool  // one of them was seen twice, or in another case: servers differ in which they take
	choices   int64 // the most of all that say how many answers there are
	elements  int64 // of the list of prompts being read
	prompts   int64 // the most that a list had

	blob    blob
	options streamOptions
}

// name takes the model. Of repeated ones the last counts, an exact name of the member before one in another case, as in the
// common servers; but as others differ, or ignore null, none of them is known for sure. Nor is what isn't UTF-8, or what only some
// servers see, by a name in another case.
func (r *draft) name(v value) {
	text := ""
	if v.kind == jsonscan.String {
		text = r.names.valid(v.text)
	}
	r.ambiguous = r.ambiguous || r.named && text != r.Model || !utf8.Valid(v.text)
	r.long = v.size > maxModel
	if !v.folded || !r.exact {
		r.Model = text
	}
	r.named, r.exact = true, r.exact || !v.folded
}

// fallbackPaths are where a body names models that may serve in place of the one it asks for, by name or each in an object of its own:
// OpenRouter's models, fallbacks of Anthropic, LiteLLM and others, and LiteLLM's for certain errors.
func fallbackPaths(id int) []jsonscan.Path {
	var paths []jsonscan.Path
	for _, name := range [...]string{"models", "fallbacks", "fallback_models", "context_window_fallbacks", "content_policy_fallbacks"} {
		paths = append(paths, jsonscan.Path{ID: id, Path: name, Keep: maxModel}, jsonscan.Path{ID: id, Path: name + ".*", Keep: maxModel})
	}
	return paths
}

// fallback takes a model that may serve in place of another one. An object may name any, and other bounds for it.
func (r *draft) fallback(v value) {
	switch v.kind {
	case jsonscan.Object:
		r.ambiguous, r.doubtful = true, true
	case jsonscan.String:
		name := r.names.valid(v.text)
		r.ambiguous = r.ambiguous || r.instead != "" && r.instead != name
		r.instead = name
	}
}

// severalNames says that a text is a list of models, all of which LiteLLM asks.
func severalNames(model string) bool { return strings.IndexByte(model, ',') >= 0 }

// unread says why the model is not known for sure.
func (r *draft) unread() Unread {
	switch {
	case r.Route != "":
		return ""
	case r.ambiguous || r.named && !r.exact || r.instead != "" && r.instead != r.Model || severalNames(r.Model):
		return Ambiguous
	case r.Model == "":
		return Missing
	case r.long:
		return NameTooLong
	default:
		return ""
	}
}

// streams takes what asks for server-sent events; of repeated ones the last counts.
func (r *draft) streams(v value, yes bool) {
	if !v.folded {
		r.Stream = yes
	}
}

// bound takes a bound of the output. Null is none, and so is zero. Text, and a name in another case, bind only some servers.
func (r *draft) bound(v value) {
	n := r.maybeBound(v)
	r.binds = r.binds || n > 0 && v.kind == jsonscan.Number && !v.folded
	r.once(v)
}

// maybeBound takes a bound that some servers don't know, and gives it.
func (r *draft) maybeBound(v value) int64 {
	n := v.atMost()
	r.largest = max(r.largest, n)
	r.unlimited = r.unlimited || n < 0
	return n
}

// once takes note of a member that bounds the output, or holds what does.
func (r *draft) once(v value) {
	bit := int64(1) << v.id
	r.doubtful = r.doubtful || v.folded || r.bounds&bit != 0
	r.bounds |= bit
}

// raise takes what may be used up even where a smaller bound is given.
func (r *draft) raise(v value) { r.raised = max(r.raised, v.atMost()) }

// demand takes the fewest tokens of an answer.
func (r *draft) demand(v value) {
	r.raise(v)
	r.OutputFloor = max(r.OutputFloor, v.atMost())
}

// choose takes how many answers are made of a prompt.
func (r *draft) choose(v value) { r.choices = max(r.choices, v.atMost()) }

// prompt takes an element of a list of prompts: a text, or a list of tokens. A number is a token of the only one.
func (r *draft) prompt(v value) {
	if v.kind == jsonscan.String || v.kind == jsonscan.Array {
		r.elements++
		r.prompts = max(r.prompts, r.elements)
	}
}

// outputBound is the bound of all answers together, itself bounded so that sums of it can't overflow.
func (r *draft) outputBound() int64 {
	if r.largest <= 0 || r.unlimited {
		return 0
	}
	bound := max(r.largest, r.raised)
	for _, times := range []int64{max(r.choices, 1), max(r.prompts, 1)} {
		if bound > mostBound/times {
			return mostBound
		}
		bound *= times
	}
	return bound
}

// loose says that a server may go beyond the bound.
func (r *draft) loose() bool { return r.OutputBound > 0 && (!r.binds || r.doubtful) }

const mostBound = 1e12

// atMost is the most that a lenient server may take a bound for: numbers as text, with a point or an exponent, are whole
// numbers to some. -1: negative, which some take for no bound; 0: none. What is too long to be kept is beyond counting.
func (v value) atMost() int64 {
	text := v.text
	switch v.kind {
	case jsonscan.Number:
	case jsonscan.String:
		text = bytes.TrimSpace(without('_', text))
	default:
		return 0
	}
	if len(v.text) >= maxBound {
		return mostBound
	}
	if n, whole := jsonscan.Int(text); whole { // as nearly all come
		return min(n, mostBound)
	}
	n, err := strconv.ParseFloat(inplace.String(text), 64)
	switch {
	case err != nil && math.IsInf(n, 0): // beyond counting
	case err != nil && !isASCII(text): // digits of other scripts
		return mostBound
	case err != nil || math.IsNaN(n):
		return 0
	}
	if n < 0 {
		return -1
	}
	return int64(min(math.Ceil(n), mostBound))
}

// without leaves out all that are c.
func without(c byte, text []byte) []byte {
	kept := make([]byte, 0, len(text))
	for _, b := range text {
		if b != c {
			kept = append(kept, b)
		}
	}
	return kept
}

func isASCII(text []byte) bool {
	for _, c := range text {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// elsewhere takes what says that part of the prompt is not in the body.
func (r *draft) elsewhere(v value) {
	if v.kind != jsonscan.Null && v.kind != jsonscan.False {
		r.Prompt.Elsewhere = true
	}
}

// image takes the URL of a picture: one of data has it inline, and what is too long for another one is taken for data.
func (r *draft) image(v value) {
	if v.kind != jsonscan.String {
		return
	}
	r.Prompt.Images++
	if v.isData() {
		r.Prompt.Text -= int64(v.size)
	} else {
		r.Prompt.Elsewhere = true
	}
}

// media takes other media, or its URL, or what is encoded and no text.
func (r *draft) media(v value) {
	switch {
	case v.kind != jsonscan.String:
	case v.isLink():
		r.Prompt.Elsewhere = true
	default:
		r.Prompt.Text -= int64(v.size)
		r.Prompt.Media += int64(v.size)
	}
}

// token takes a token of the prompt. Its digits, and what parts it from the next one, are no text.
func (r *draft) token(v value) {
	if v.kind == jsonscan.Number {
		r.Prompt.Tokens++
		r.Prompt.Text -= int64(len(v.text) + len(","))
	}
}

func (v value) isData() bool {
	const mostLink = 8 << 10
	return v.size > mostLink || strings.EqualFold(inplace.String(v.text), "data:")
}

// isLink says that a text whose beginning is kept is a URL that is not one of data.
func (v value) isLink() bool {
	return strings.EqualFold(inplace.String(v.text[:min(len(v.text), 4)]), "http")
}

// blob is inline data whose type may stand before or behind it.
type blob struct {
	size           int64
	picture, words bool
}

// count adds a blob to the prompt, or takes it out again.
func (r *draft) count(sign int64) {
	b := &r.blob
	switch {
	case b.size == 0 || b.words:
		return
	case b.picture:
		r.Prompt.Images += sign
	default:
		r.Prompt.Media += sign * b.size
	}
	r.Prompt.Text -= sign * b.size
}

// describe takes the type of a blob: a media type, or how it is given.
func (r *draft) describe(v value) {
	r.count(-1)
	kind := inplace.String(v.text)
	r.blob.picture = r.blob.picture || strings.EqualFold(kind, "image/")
	r.blob.words = r.blob.words || strings.EqualFold(kind, "text")
	r.count(1)
}

// inline takes a blob's data.
func (r *draft) inline(v value) {
	r.count(-1)
	r.blob.size = int64(v.size)
	r.count(1)
}
