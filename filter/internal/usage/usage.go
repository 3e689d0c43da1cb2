// Package usage reads LLM requests and responses: which model, how much output may come, how many tokens passed.
//
// A Dialect knows one API's documents; the table in operations.go finds it by the request's path. RequestReader and
// ResponseReader take a body in chunks of any size and hold none of it. A response is one JSON document or a stream of
// server-sent events; while a stream runs, events that carry output are counted, and a usage report, in whichever
// event, replaces the count (the last one wins).
//
// Worst moments: a body that is not JSON, or is not what the dialect says, yields a Request that was not read or a
// Response without a report, never an error; what to charge then is the caller's matter. Counts that are negative,
// fractional or beyond 1e15 are treated as not reported.
package usage

import "github.com/spillway-proxy/spillway/filter/internal/jsonscan"

// Absent stands for a count that was not reported.
const Absent = -1

// Request is what a request asks for.
type Request struct {
	Read        bool   // the body was valid and complete; without it the rest may be missing
	Model       string // as the client wrote it, cut to 256 bytes
	Route       string // the model that the path names, and which serves, whatever Model says; "" where paths name none
	Stream      bool   // server-sent events are asked for
	OutputBound int64  // most output tokens the request allows, over all its choices; 0: no bound given
	Bytes       int64  // size of the body so far
}

// Tokens counts tokens. Prompt includes Cached, Completion includes Reasoning. Each may be Absent.
type Tokens struct {
	Prompt, Completion, Total, Cached, Reasoning int64
}

// none is a report of nothing.
var none = Tokens{Absent, Absent, Absent, Absent, Absent}

// Response is what a response brought so far.
type Response struct {
	Model    string // as the server wrote it, cut to 256 bytes
	Tokens   Tokens // the last report
	Reported bool   // there was a report
	Outputs  int64  // pieces of output seen; in a stream most OpenAI-compatible servers send a token a piece
	Text     int64  // bytes of the output seen in a stream
	Final    bool   // the report is the one at the end, where a dialect has others before
	Failure  int    // the HTTP status that an error inside a stream stands for; 0: none
}

// Dialect reads one API's documents.
type Dialect interface {
	Name() string      // as in the configuration: openai.chat
	Operation() string // OpenTelemetry's gen_ai.operation.name, or ours
	Provider() string  // OpenTelemetry's gen_ai.provider.name of the API's format
	Outputs() bool     // there are output tokens to expect

	// TokenPerPiece says that a stream's pieces of output usually have a token each.
	TokenPerPiece() bool
	// Cumulative says that the counts of a stream are spread over its events: before its end, the completion's is not
	// what has passed.
	Cumulative() bool

	// fromPath takes what the path says of the request; the body can say otherwise.
	fromPath(path string, r *Request)
	requestPaths() *jsonscan.Node
	request(r *draft, v value)
	responsePaths() *jsonscan.Node
	response(d *document, v value)
}

// value is one wanted value of a document.
type value struct {
	id   int
	kind jsonscan.Kind
	text []byte
	size int
	at   int64 // where it begins in a request's body
}

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

// sum adds up counts, without those that are Absent, to no more than a single one can be.
func sum(counts ...int64) int64 {
	const most = 1e15
	var n int64
	for _, count := range counts {
		n += max(count, 0)
	}
	return min(n, most)
}

// draft collects a request while its body is read.
type draft struct {
	Request
	bounds  [2]int64 // the names an output bound goes by; the larger counts
	choices int64
	options streamOptions
}

// document collects one JSON response, or one event of a stream.
type document struct {
	model   string    // of the whole response so far
	reports [2]report // by place
	place   int       // of the report being read
	parts   [3]int64  // counts that a dialect adds up
	outputs int64
	text    int64
	final   bool
	failure int
	choice  bool // it has at least one of OpenAI's choices
}

// named takes the model's name. The first one stands; the others of a stream need no copy.
func (d *document) named(text []byte) {
	if d.model == "" {
		d.model = string(text)
	}
}

// output takes a piece of output.
func (d *document) output(v value) {
	if v.size > 0 {
		d.outputs++
		d.text += int64(v.size)
	}
}

// report is one report of tokens.
type report struct {
	Tokens
	there bool // it holds at least one of the prompt's, the completion's and the total count
}

// The places of a report. What stands in the standard one counts; a vendor's own is for want of it.
const (
	standardPlace = iota
	vendorPlace
)
