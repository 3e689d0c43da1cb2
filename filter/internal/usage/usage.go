// Package usage reads LLM requests and responses: which model, how much output may come, how many tokens passed.
//
// A Dialect knows one API; the table (table.go) has them all, and finds them by a request's path. RequestReader and
// ResponseReader take a body in chunks of any size and hold none of it. A response is one JSON document, several in a row, or
// a stream of server-sent events: its first bytes tell, whatever its content type says. While a stream runs, events that
// carry output are counted, and a usage report, in whichever event, replaces the count (the last one wins).
//
// # What a report means
//
// The prompt includes what was cached, what was written to a cache, and audio; the completion includes reasoning; the total
// is the sum of both. Providers differ, so what they say is brought to that: Anthropic's counts of its cache and of its
// compactions are added, and Gemini's of tools and thoughts. Where a total is more than the prompt and the completion, what
// is missing belongs to the prompt if it is as much as the prompt's audio (Mistral) or if there can be no completion, else to
// the completion (xAI's reasoning, Gemini's thoughts at its OpenAI endpoint). Where it is less, the sum counts. Reasoning that
// is more than the completion is no part of it, if no total says otherwise. What remains is left as it is said, be it more in
// the cache than the prompt has. Counts may be texts; null is not reported.
//
// # What a stream brings
//
// Output is looked for where the known servers put it. An event without any, of which the dialect does not know that it brings
// none, is counted as unknown: it may be output of a form that is yet to come.
//
// A request is read as leniently as any server may read it: what a client can hide from the filter, it is not bound by. So
// bodies are decompressed (gzip, deflate), brought into UTF-8, read by a lenient scanner, and the fields of a form are read
// where uploads are usual. Of a bound that is given several times the largest counts, and a model that can't be told for
// sure is Unread.
//
// Worst moments: a body that is not JSON, or is not what the dialect says, yields a Request that was not read or a
// Response without a report, never an error; what to charge then is the caller's matter. A response's counts that are negative,
// fractional or beyond 1e15 are treated as not reported, and noted.
package usage

import (
	"github.com/spillway-proxy/spillway/filter/internal/inplace"
	"github.com/spillway-proxy/spillway/filter/internal/jsonscan"
	"github.com/spillway-proxy/spillway/filter/internal/reply"
)

// Absent stands for a count that was not reported.
const Absent = -1

// Request is what a request asks for.
type Request struct {
	Read        bool   // the body was valid and complete; without it the rest may be missing
	Model       string // as the client wrote it, cut to 256 bytes
	Unread      Unread // why the server may take it for another model, or for one where Model is ""; "": it is Model for sure
	Route       string // the model that the path names, and which serves, whatever Model says; "" where paths name none
	Stream      bool   // server-sent events are asked for
	OutputBound int64  // most output tokens that the request allows, over all its choices, as the most lenient server reads it; 0: no bound
	OutputLoose bool   // not every server honours OutputBound, or the body was not read to its end
	OutputFloor int64  // fewest output tokens that it demands
	Bytes       int64  // size of the body so far
	Prompt      Prompt
}

// Prompt is what a body has of the prompt.
type Prompt struct {
	Text      int64 // bytes of the body that are text: decompressed, in UTF-8, without what stands for media
	Images    int64 // pictures, inline or by reference
	Media     int64 // bytes of other inline media and of what is encoded: sound, films, documents, uploads
	Tokens    int64 // what is given as tokens in place of text
	Elsewhere bool  // part of it is not in the body: a stored conversation or prompt, a file, a URL, what a server's tools find
	seen      int64 // bytes of the body that these are of
	open      bool  // it was cut inside of media
}

// Unread says why a request's model can't be told for sure.
type Unread string

// The reasons.
const (
	NoBody      Unread = "no_body"
	Missing     Unread = "missing"   // the body was read, and names none
	Malformed   Unread = "malformed" // it can't be read to its end
	TooLarge    Unread = "too_large" // it is larger than what is read
	Encoded     Unread = "encoded"   // its content-encoding or charset can't be read
	Ambiguous   Unread = "ambiguous" // it names several, and servers may differ in which one they take
	NameTooLong Unread = "too_long"  // the name is longer than what is kept
	Undescribed Unread = "unknown"   // its dialect isn't known
)

// Tokens counts tokens, in the meaning of the package's comment. Each may be Absent.
type Tokens struct {
	Prompt, Completion, Total, Cached, Reasoning int64

	CacheWrite int64 // of the prompt, written to a cache
	Audio      int64 // of the prompt and of the completion

	AudioOutput int64 // of Audio, that of the completion; never Absent
}

// none is a report of nothing.
var none = Tokens{Absent, Absent, Absent, Absent, Absent, Absent, Absent, 0}

// Response is what a response brought so far.
type Response struct {
	Model       string // as the server wrote it, cut to 256 bytes
	Tokens      Tokens // the last report
	Reported    bool   // there was a report
	Outputs     int64  // pieces of output seen; in a stream most OpenAI-compatible servers send a token a piece
	Text        int64  // bytes of the output seen in a stream; of sound and pictures a fraction (mediaBytes)
	Unknown     int64  // events of a stream that may have brought output in a form that is not known
	UnknownText int64  // their bytes, without the first 512 of each
	Final       bool   // the report is the one at the end, where a dialect has others before
	Failure     int    // the HTTP status that an error inside a stream stands for; 0: none
	Absurd      bool   // a count was negative, fractional or beyond 1e15
}

// Dialect is all that is known of one API, in a file of its own: a new one is such a file, and a line in the table (table.go).
type Dialect struct {
	Name      string        // as in the configuration: openai.chat
	Operation string        // OpenTelemetry's gen_ai.operation.name, or ours; its routes may have others
	Provider  string        // OpenTelemetry's gen_ai.provider.name of the API's format
	Errors    *reply.Format // of the bodies of errors
	routes    []route

	Outputs       bool // there are output tokens to expect
	TokenPerPiece bool // a stream's pieces of output usually have a token each
	Cumulative    bool // the counts of a stream are spread over its events: before its end, the completion's is not what has passed
	AsksForUsage  bool // a stream reports its usage only if the request asks for it (streamusage.go)
	uploads       bool // requests may be forms (multipart.go), and are media where they can't be read
	anyForm       bool // what is neither JSON nor events may be an answer all the same

	fromPath      func(path string) Request // what the path says of the request; the body can say otherwise. nil: nothing
	requestPaths  *jsonscan.Node
	request       func(r *draft, v value) // takes a value of the request at one of the paths
	responsePaths *jsonscan.Node
	response      func(d *document, v value)
	end           func(d *document)      // takes what a finished document says as a whole; nil: nothing more
	silent        func(d *document) bool // a document of a stream, in which no output was found, is known to bring none
}

// value is one wanted value of a document.
type value struct {
	id   int
	kind jsonscan.Kind
	text []byte
	size int

	// Of a request's only.
	at     int64 // where it begins in the body
	folded bool  // its member's name is the wanted one but for its case
}

// is says that a text, or as much of it as is kept, is that one.
func (v value) is(text string) bool { return inplace.String(v.text) == text }

// count reads a number of tokens.
func (v value) count() int64 {
	if v.kind != jsonscan.Number {
		return Absent
	}
	if n, ok := jsonscan.Int(v.text); ok {
		return n
	}
	return Absent
}
