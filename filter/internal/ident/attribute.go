package ident

import (
	"encoding/binary"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spillway-proxy/spillway/filter/internal/inplace"
)

// The proxy hands attributes over as bytes without their type: text as it is, a number as the eight bytes of a float (all numbers of metadata) or an
// integer, a truth value as one byte, a list or a map as lengths and texts between zeros.

// attribute gives the text that an attribute is taken for, and says whether it is one value. It isn't trimmed: it is who the proxy says it is.
func attribute(h *Headers, path, value string) (text string, one bool) {
	if path == "source\x00address" {
		return host(h, value), true
	}
	if plain(value) {
		return h.copied(value), true
	}
	from := len(h.text)
	switch len(value) {
	case 1:
		h.text = strconv.AppendBool(h.text, value[0] != 0)
	case 8:
		h.text = appendNumber(h.text, binary.LittleEndian.Uint64(inplace.Bytes(value)))
	default:
		return "", false
	}
	return inplace.String(h.text[from:]), true
}

// plain says that a value is text: numbers, truth values, lists and maps have control characters in them, or are no UTF-8. (The exceptions are
// numbers that are no identities: fractions, and those above 2^52.)
func plain(value string) bool {
	for i := range len(value) {
		if value[i] < ' ' {
			return false
		}
	}
	return utf8.ValidString(value)
}

// appendNumber appends the number that eight bytes are: a float, or, where that would be next to nothing, an integer.
func appendNumber(b []byte, bits uint64) []byte {
	const least = 1 << 52 // of a float that is not denormal
	f := math.Float64frombits(bits)
	switch {
	case bits < least:
		return strconv.AppendUint(b, bits, 10)
	case f == math.Trunc(f) && math.Abs(f) < 1<<63:
		return strconv.AppendInt(b, int64(f), 10)
	}
	return strconv.AppendFloat(b, f, 'g', -1, 64)
}

// host gives the host of an address with a port. Of IPv6 it is the network: one subscriber has all of a /64, and could be somebody else with
// each request. An IPv4 address within IPv6 is that address. Whoever comes by a local socket is known by the socket's name alone.
func host(h *Headers, address string) string {
	end := strings.LastIndexByte(address, ':')
	if end < 0 || address[0] == '/' || address[0] == '@' {
		return h.copied(address)
	}
	ip := address[:end]
	if len(ip) < 2 || ip[0] != '[' {
		return h.copied(ip)
	}
	ip = ip[1 : len(ip)-1]
	if last := ip[strings.LastIndexByte(ip, ':')+1:]; strings.IndexByte(last, '.') > 0 {
		return h.copied(last)
	}
	from := len(h.text)
	h.text = appendNetwork(h.text, ip)
	return inplace.String(h.text[from:])
}

// How many groups of 16 bits an IPv6 address has, and its network.
const ofAddress, ofNetwork = 8, 4

// appendNetwork appends the /64 of an IPv6 address; the address itself, if it is none.
func appendNetwork(b []byte, ip string) []byte {
	head, tail, gap := strings.Cut(ip, "::")
	var network [ofNetwork]uint64
	n, ok := parseGroups(head, 0, &network)
	if gap && n < ofNetwork {
		behind := 0
		if tail != "" {
			behind = strings.Count(tail, ":") + 1
		}
		_, ok2 := parseGroups(tail, ofAddress-behind, &network)
		ok = ok && ok2 && behind < ofAddress
	}
	if !ok || !gap && n != ofAddress {
		return append(b, ip...)
	}
	last := ofNetwork
	for last > 0 && network[last-1] == 0 {
		last--
	}
	for _, group := range network[:last] {
		b = append(strconv.AppendUint(b, group, 16), ':')
	}
	if last == 0 {
		b = append(b, ':')
	}
	return append(b, ":/64"...)
}

// parseGroups reads groups from the at-th on, as far as they are the network's, and says how many there are.
func parseGroups(text string, at int, network *[ofNetwork]uint64) (n int, ok bool) {
	for text != "" {
		var group string
		group, text, _ = strings.Cut(text, ":")
		value, err := strconv.ParseUint(group, 16, 16)
		if err != nil && at < ofNetwork {
			return n, false
		}
		if at >= 0 && at < ofNetwork {
			network[at] = value
		}
		at, n = at+1, n+1
	}
	return n, true
}
