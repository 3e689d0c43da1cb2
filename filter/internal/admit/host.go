package admit

import "github.com/spillway-proxy/spillway/filter/internal/record"

// Host is what the engine asks of the proxy. What it gives is the host's: it is good until the event that asked for it has been handled.
type Host interface {
	record.Store

	// Headers are those of the message whose event is being handled; none if they can't be had.
	Headers() [][2]string
	// Piece is a part of what the event that is being handled has brought of its message's body: so many bytes, from one on. It is good
	// until the next call; nil if it can't be had.
	Piece(from, size int) []byte
	// Attribute is what the proxy knows of the stream whose event is being handled, beside its messages. The parts of an attribute's path are
	// told apart by zeros.
	Attribute(path string) (value string, known bool)
	// Wall is the time of the wall clock, in nanoseconds since 1970. What it decides is which window of a limit it is.
	Wall() int64
	// Received is how many bytes of a held request the proxy has received so far, shown or not, and how many of these are its headers.
	// known is false if it can't tell.
	Received(*Stream) (bytes, headers uint64, known bool)
}

// The attributes that the engine itself looks at, by Envoy's names, whose parts are told apart by zeros:
// https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/advanced/attributes
const (
	CodeDetails   = "response\x00code_details" // who made the response, and why
	ResponseFlags = "response\x00flags"        // how it ended, 8 bytes, the lowest first
)
