package lease

import (
	"strconv"
	"strings"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/inplace"
	"github.com/spillway-proxy/spillway/filter/internal/jsonscan"
)

// The service's HTTP API, POST /json (https://github.com/envoyproxy/ratelimit#http-port), which is Envoy's RateLimitRequest and RateLimitResponse in
// JSON. The limit goes with each descriptor, so that the service's file names the domain and nothing else.

// MostBytes is the longest answer that is read.
const MostBytes = 64 << 10

// appendCall writes the body of a call, which asks for something. Domain and names are of letters, digits and the like (config), so that there is nothing to escape; who the
// subject is says a hash alone. It stands in braces: a cluster of Redis keeps all keys with the same text between braces in one place, so that they are lost together or not at all. The service
// takes the descriptors one after the other: what it says of the calls comes last, so that it knows of a loss before.
func appendCall(b []byte, domain string, p *pulse, asks []ask) []byte {
	b = put(b, `{"domain":"`, domain, `","descriptors":[`)
	for i := range asks {
		a := &asks[i]
		for n := range a.descriptors() {
			b = put(b, `{"entries":[{"key":"limit","value":"`, a.Terms.Name, `"},{"key":"subject","value":"{`)
			for _, octet := range a.Name {
				const digits = "0123456789abcdef"
				b = put(b, digits[octet>>4:octet>>4+1], digits[octet&15:octet&15+1])
			}
			b = put(b, `}"}`)
			if a.GivesBack {
				b = put(b, `,{"key":"given","value":"back"}`)
			} else if n > 0 {
				b = p.appendName(put(b, `,`))
			}
			b = appendLimit(b, a.hits(), a.Terms.Unit)
		}
	}
	b = appendLimit(p.appendName(put(b, `{"entries":[`)), p.hits(), beating.Unit)
	return put(b[:len(b)-len(",")], `]}`)
}

// appendName names the proxy.
func (p *pulse) appendName(b []byte) []byte {
	return put(strconv.AppendUint(put(b, `{"key":"proxy","value":"`), p.id, 36), `"}`)
}

// appendLimit ends a descriptor.
func appendLimit(b []byte, hits int64, unit string) []byte {
	b = strconv.AppendInt(put(b, `],"hitsAddend":"`), hits, 10)
	return put(strconv.AppendInt(put(b, `","limit":{"requestsPerUnit":`), MostQuantity, 10), `,"unit":"`, unit, `"}},`)
}

// hits is what an ask adds to its counts.
func (a *ask) hits() int64 {
	if a.GivesBack {
		return a.Need
	}
	return a.lease + a.owed
}

// descriptors is how many counts an ask is of: the fleet's and this proxy's, or that of what was given back.
func (a *ask) descriptors() int {
	if a.GivesBack {
		return 1
	}
	return 2
}

// descriptors is how many a call has.
func descriptors(asks []ask) int {
	n := 1
	for i := range asks {
		n += asks[i].descriptors()
	}
	return n
}

// put appends texts, in one function: the compiler would write each append out.
//
//go:noinline
func put(b []byte, texts ...string) []byte {
	for _, text := range texts {
		b = append(b, text...)
	}
	return b
}

// status is what the service says of one descriptor.
type status struct {
	code      string // OK or OVER_LIMIT, else ""
	over      bool
	limit     int64 // units; 0: none holds
	remaining int64
	reset     time.Duration // until the window ends, rounded up to seconds; 0: it doesn't say
	strange   bool
}

// told is the count that it says.
func (s *status) told() int64 { return MostQuantity - s.remaining }

// wrong says why the answer can't be one to somebody who has added so much; "": it can.
func (s *status) wrong(t *Terms, hits int64) string {
	switch {
	case s.strange || s.code == "":
		return "is of another form"
	case s.limit == 0:
		return "knows no limit for the domain: its configuration has to name it"
	case s.limit != MostQuantity:
		return "is for another limit"
	case s.reset < time.Second || s.reset > t.longest():
		return "has a window that can't be"
	case s.remaining > MostQuantity-hits:
		return "has more left than can be"
	}
	s.over = s.code == "OVER_LIMIT"
	return ""
}

const (
	idStatuses = iota + 1
	idStatus
	idCode
	idLimit
	idRemaining
	idReset
)

var paths = jsonscan.Compile(
	jsonscan.Path{ID: idStatuses, Path: "statuses"},
	jsonscan.Path{ID: idStatus, Path: "statuses.*"},
	jsonscan.Path{ID: idCode, Path: "statuses.*.code", Keep: 16},
	jsonscan.Path{ID: idLimit, Path: "statuses.*.currentLimit.requestsPerUnit", Keep: 24},
	jsonscan.Path{ID: idRemaining, Path: "statuses.*.limitRemaining", Keep: 24},
	jsonscan.Path{ID: idReset, Path: "statuses.*.durationUntilReset", Keep: 24},
)

// reading reads an answer.
type reading struct {
	statuses []status
	listed   bool
}

// read gives the statuses of an answer, and says false if it hasn't so many.
func (r *reading) read(body []byte, want int) bool {
	r.statuses, r.listed = r.statuses[:0], false
	if len(body) > MostBytes {
		return false
	}
	var s jsonscan.Scanner
	s.Reset(paths, r)
	s.Write(body)
	return s.Close() && len(r.statuses) == want
}

// Begin implements jsonscan.Handler.
func (r *reading) Begin(id int, kind jsonscan.Kind) {
	switch {
	case id == idStatuses && kind == jsonscan.Array && !r.listed:
		r.listed = true
	case id == idStatus && kind == jsonscan.Object && len(r.statuses) < 2*mostAsks+2:
		r.statuses = append(r.statuses, status{})
	default:
		r.strange()
	}
}

// strange takes note of what can't stand in an answer.
func (r *reading) strange() {
	if n := len(r.statuses); n > 0 {
		r.statuses[n-1].strange = true
	}
}

// Value implements jsonscan.Handler. Protobuf's JSON has numbers of 64 bits as strings, and leaves 0 out.
func (r *reading) Value(id int, kind jsonscan.Kind, text []byte, size int) {
	if len(r.statuses) == 0 || kind == jsonscan.String && size != len(text) {
		r.strange()
		return
	}
	s := &r.statuses[len(r.statuses)-1]
	word := inplace.String(text)
	switch id {
	case idCode:
		switch word {
		case "OK":
			s.code = "OK"
		case "OVER_LIMIT":
			s.code = "OVER_LIMIT"
		}
	case idReset:
		seconds, found := strings.CutSuffix(word, "s")
		whole, _, _ := strings.Cut(seconds, ".")
		n, ok := number(whole)
		s.strange = s.strange || !ok || !found
		s.reset = time.Duration(n) * time.Second
	case idLimit, idRemaining:
		n, ok := number(word)
		s.strange = s.strange || !ok || kind != jsonscan.Number && kind != jsonscan.String
		if id == idLimit {
			s.limit = n
		} else {
			s.remaining = n
		}
	default:
		s.strange = true
	}
}

// number reads a number that can be a count, or seconds.
func number(text string) (int64, bool) {
	n, err := strconv.ParseUint(text, 10, 32)
	return int64(n), err == nil
}
