// Package inflate decompresses DEFLATE data (RFC 1951) that arrives in pieces: gzip's (RFC 1952, one member or several),
// zlib's (RFC 1950), or bare.
//
// compress/flate pulls from a reader, so that all of the input would have to be kept until it is complete; this one is
// pushed, and keeps the window of 32 KiB, the tables of the block, and the input of one step. Checksums are not compared:
// what a server would refuse is left to it.
//
// Worst moments: input that isn't DEFLATE makes Write fail, for good. The caller bounds the output, by telling Write to stop.
package inflate

import "errors"

// Errors of Write.
var (
	ErrFormat  = errors.New("not DEFLATE data")
	ErrStopped = errors.New("stopped by the receiver of the output")
)

type state uint8

const (
	stStart   state = iota // which format it is must be told by the first bytes
	stMember               // a gzip header must come
	stExtra                // the length of gzip's extra field
	stSkip                 // bytes to be skipped
	stText                 // a text of gzip's header, ended by a zero
	stBlock                // a block's header
	stStored               // the bytes of a stored block
	stSymbols              // a block's symbols
	stTrailer              // what stands behind the last block
	stDone                 // whatever comes is ignored
)

// flags of a gzip header.
const (
	flagCRC     = 1 << 1
	flagExtra   = 1 << 2
	flagName    = 1 << 3
	flagComment = 1 << 4
)

const windowSize = 32 << 10

// Reader decompresses one body. Its zero value is ready.
type Reader struct {
	// Accept takes the next piece of output, valid during the call, and says whether more is wanted.
	Accept func(p []byte) bool

	state state
	gzip  bool
	flags byte
	err   error
	skip  int
	last  bool // the block is the last one
	left  int  // bytes of a stored block

	in   []byte // the input of the step, and what follows it
	rest []byte // of the last piece: a step that is not complete
	at   int
	hold uint32
	bits uint

	window  [windowSize]byte
	end     int // in the window
	emitted int
	full    bool // the window has been filled

	lengths, distances table
}

// Done says that the data came to its end.
func (r *Reader) Done() bool { return r.state == stDone || r.gzip && r.state == stMember }

// Write takes the next piece of input.
func (r *Reader) Write(p []byte) error {
	r.in = p
	if len(r.rest) > 0 {
		r.rest = append(r.rest, p...)
		r.in = r.rest
	}
	r.at = 0
	for r.err == nil && r.state != stDone {
		at, hold, bits := r.at, r.hold, r.bits
		if !r.step() { // not enough for it: it begins anew with the next piece
			r.at, r.hold, r.bits = at, hold, bits
			break
		}
	}
	if r.err != ErrStopped && !r.emit() && r.err == nil {
		r.err = ErrStopped
	}
	r.rest = append(r.rest[:0], r.in[r.at:]...)
	if r.in = nil; r.err != nil || r.state == stDone {
		r.rest = r.rest[:0]
	}
	return r.err
}

// fail ends the reading.
func (r *Reader) fail(err error) bool {
	r.err = err
	return true
}

// step takes the next part of the input that can only be read as a whole; false: it is not complete.
func (r *Reader) step() bool {
	switch r.state {
	case stStart:
		return r.start()
	case stMember:
		return r.member()
	case stExtra:
		n, ok := r.need(16)
		if ok {
			r.skip, r.state = int(n), stSkip
		}
		return ok
	case stSkip:
		return r.skipped()
	case stText:
		return r.text()
	case stBlock:
		return r.block()
	case stStored:
		return r.stored()
	case stSymbols:
		return r.symbol()
	default:
		return r.trailer()
	}
}

// skipped leaves out bytes of a gzip header, as many as are there.
func (r *Reader) skipped() bool {
	n := min(r.skip, len(r.in)-r.at)
	r.at, r.skip = r.at+n, r.skip-n
	if r.skip == 0 {
		r.nextField()
		return true
	}
	return n > 0
}

// text leaves out a text of a gzip header, or what of it is there.
func (r *Reader) text() bool {
	from := r.at
	for r.at < len(r.in) {
		if r.at++; r.in[r.at-1] == 0 {
			r.nextField()
			break
		}
	}
	return r.at > from
}

// start tells gzip's and zlib's headers from data without one.
func (r *Reader) start() bool {
	if len(r.in) < 2 {
		return false
	}
	first, second := r.in[0], r.in[1]
	switch {
	case IsGzip(r.in):
		r.gzip, r.state = true, stMember
	case isZlib(first, second):
		if second&0x20 != 0 { // a dictionary that nobody knows
			return r.fail(ErrFormat)
		}
		r.at, r.state = 2, stBlock
	default:
		r.state = stBlock
	}
	return true
}

// IsGzip says that data begins as gzip does.
func IsGzip(p []byte) bool { return len(p) >= 2 && p[0] == 0x1f && p[1] == 0x8b }

func isZlib(first, second byte) bool {
	return first&0x0f == 8 && first>>4 <= 7 && (uint(first)<<8|uint(second))%31 == 0
}

// member takes the fixed part of a gzip header.
func (r *Reader) member() bool {
	const header, deflate = 10, 8
	p := r.in[r.at:]
	if len(p) < header {
		return false
	}
	if !IsGzip(p) || p[2] != deflate {
		return r.fail(ErrFormat)
	}
	r.flags = p[3]
	r.at += header
	r.nextField()
	return true
}

// nextField goes on to the next field of a gzip header that is there, or to the data.
func (r *Reader) nextField() {
	take := func(flag byte) bool {
		there := r.flags&flag != 0
		r.flags &^= flag
		return there
	}
	switch {
	case take(flagExtra):
		r.state = stExtra
	case take(flagName), take(flagComment):
		r.state = stText
	case take(flagCRC):
		r.skip, r.state = 2, stSkip
	default:
		r.state = stBlock
	}
}

// trailer takes what stands behind the last block: checksum and length, behind which another gzip member may follow.
func (r *Reader) trailer() bool {
	r.hold, r.bits = 0, 0 // the rest of the last byte
	if !r.gzip {
		r.state = stDone
		return true
	}
	const size = 8
	if len(r.in)-r.at < size {
		return false
	}
	r.at += size
	r.state, r.full = stMember, false
	return true
}

// need takes n bits, at most 16.
func (r *Reader) need(n uint) (uint32, bool) {
	for r.bits < n {
		if r.at == len(r.in) {
			return 0, false
		}
		r.hold |= uint32(r.in[r.at]) << r.bits
		r.at++
		r.bits += 8
	}
	v := r.hold & (1<<n - 1)
	r.hold >>= n
	r.bits -= n
	return v, true
}

// put appends a byte to the output.
func (r *Reader) put(c byte) bool {
	r.window[r.end] = c
	if r.end++; r.end == windowSize {
		if !r.emit() {
			return false
		}
		r.end, r.emitted, r.full = 0, 0, true
	}
	return true
}

// emit hands out what of the window was not handed out yet.
func (r *Reader) emit() bool {
	p := r.window[r.emitted:r.end]
	r.emitted = r.end
	return len(p) == 0 || r.Accept(p)
}
