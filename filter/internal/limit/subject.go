package limit

import (
	"unicode/utf8"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/inplace"
	"github.com/spillway-proxy/spillway/filter/internal/oneline"
	"github.com/spillway-proxy/spillway/filter/internal/table"
)

// MostSubject is how many bytes a subject takes at most, as it is shown.
const MostSubject = 64

// AppendSubject appends whom a limit charges a request to, as people are shown it:
//
//	user=ann tenant=acme        what its "per" names, in that order
//	key=h:9f2c61d0              of what is never shown (ident.Secret) a keyed hash: the same for the same key, until the proxy is restarted
//	user=aaaaaaaaa…9f2c61d0     a long one is cut, and ends in the hash of all of it: nobody is taken for another one by how he begins
//	everybody                   the limit is per nothing
//
// It is one line, white space in a value is a "_", and so are other characters that can't be shown (package oneline). What a page or a format gives a
// meaning to is whose to escape who writes that. nil is no limit, and nobody.
func (s *Set) AppendSubject(b []byte, configured *config.Limit, r *Request) []byte {
	if configured == nil {
		return b
	}
	for i := range s.limits { // it may be one of a subject's own (granted)
		if l := &s.limits[i]; l.Name == configured.Name {
			return s.appendSubject(b, l, r)
		}
	}
	return b
}

func (s *Set) appendSubject(b []byte, l *limit, r *Request) []byte {
	if len(l.per) == 0 {
		return append(b, "everybody"...)
	}
	return s.appendParts(b, l.per, r, false)
}

// AppendCaller appends who asks in the same way, whatever limits there are: tenant, user and key, as far as the request says them.
func (s *Set) AppendCaller(b []byte, r *Request) []byte {
	start := len(b)
	if b = s.appendParts(b, s.caller, r, true); len(b) > start {
		return b
	}
	return oneline.Append(b, s.nobody, MostSubject)
}

// appendParts appends parts, and leaves those out that the request lacks, if that is wanted.
func (s *Set) appendParts(b []byte, parts []part, r *Request, present bool) []byte {
	start := len(b)
	for i := range parts {
		s.subject = parts[i].append(append(s.subject[:0], shown...), r)
		if present && inplace.String(s.subject[len(shown):]) == s.nobody {
			continue
		}
		if len(b) > start {
			b = append(b, ' ')
		}
		b = append(append(b, parts[i].name...), '=')
		b = s.appendValue(b, &parts[i])
	}
	if len(b)-start <= MostSubject {
		return b
	}
	end := start + MostSubject - len("…01234567")
	for !utf8.RuneStart(b[end]) {
		end--
	}
	s.subject = append(s.subject[:0], shown...)
	for i := range parts {
		s.subject = parts[i].append(append(s.subject, 0), r)
	}
	return appendHex(append(b[:end], "…"...), s.table.Hash(s.subject))
}

// shown tells what is hashed to be shown from what picks a page.
const shown = "shown\x00"

// appendValue appends what is shown of a part, whose value is in s.subject. What is longer than all that may be shown is cut later, so no more is copied
// than shows that.
func (s *Set) appendValue(b []byte, p *part) []byte {
	value := inplace.String(s.subject[len(shown):])
	if p.secret && value != s.nobody {
		return appendHex(append(b, "h:"...), s.table.Hash(s.subject))
	}
	start := len(b)
	b = oneline.Append(b, value, MostSubject+1)
	for i := start; i < len(b); i++ {
		if b[i] == ' ' {
			b[i] = '_'
		}
	}
	return b
}

// appendHex appends the first half of a hash, in which the page's number isn't.
func appendHex(b []byte, h table.Hash) []byte {
	const digits = "0123456789abcdef"
	for shift := 60; shift >= 32; shift -= 4 {
		b = append(b, digits[h>>shift&15])
	}
	return b
}
