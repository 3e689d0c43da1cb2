package ident

import "strings"

// credentials are the headers that carry an API key, at one provider or another. Two spellings of one key must not be two subjects,
// since a caller could then have as many subjects as there are spellings.
var credentials = map[string]bool{
	"authorization": true, "proxy-authorization": true, "x-api-key": true, "api-key": true, "x-goog-api-key": true,
	"x-litellm-api-key": true, "ocp-apim-subscription-key": true, // of LiteLLM and of Azure's API management
}

// credential takes a key out of a header's value, without the scheme (RFC 9110, section 11.4; some servers read none, some any) and the
// white space around it. "" is no key. one says that there is one key at most: of several words, or of a list that a proxy has made
// of repeated headers, the upstream may take any.
func credential(name, value string) (key string, one bool) {
	const bearer = "bearer " // as nearly all come, without an allocation
	if len(value) > len(bearer) && strings.EqualFold(value[:len(bearer)], bearer) && word(value[len(bearer):]) {
		return value[len(bearer):], true
	}
	if word(value) {
		return value, true
	}
	words := strings.FieldsFunc(value, blank)
	if len(words) == 0 {
		return "", true
	}
	first, schemed := strings.ToLower(words[0]), strings.HasSuffix(name, "authorization")
	for _, p := range proofs {
		if schemed && strings.HasPrefix(first, p.scheme) {
			return p.signer(value)
		}
	}
	return keyIn(words, first, schemed)
}

// keyIn takes the key out of a value's words, the first of which is first in lower case. schemed says that a scheme may stand before it.
func keyIn(words []string, first string, schemed bool) (key string, one bool) {
	if schemed && len(words) == 2 && !scheme(first) {
		words = words[1:] // one that we don't know
	}
	for len(words) > 0 && scheme(words[0]) && (schemed || len(words) > 1) { // once or more
		words = words[1:]
	}
	switch {
	case len(words) == 0:
		return "", true
	case len(words) > 1 || strings.Contains(words[0], ","):
		return "", false
	case first == "basic":
		return password(words[0]), true
	}
	return words[0], true
}

// word says that a text is a key and nothing else: visible characters without a comma, and no scheme.
func word(text string) bool {
	for i := range len(text) {
		if c := text[i]; c <= ' ' || c >= 0x7f || c == ',' {
			return false
		}
	}
	return text != "" && !scheme(text)
}

// blank is white space, and what Python's strings take for it in a header.
func blank(r rune) bool { return r <= ' ' || r == 0x7f || r == 0x85 || r == 0xa0 || r == 0xfffd }

func scheme(word string) bool {
	for _, known := range [...]string{"bearer", "basic", "token", "apikey", "api-key", "key"} {
		if strings.EqualFold(word, known) {
			return true
		}
	}
	return false
}

// password gives the key in the credentials of the scheme Basic (RFC 7617): the password or the user, if the other is empty, else both.
// Base64 is read as the most lenient servers do. (encoding/base64 is 15 KB.)
func password(text string) string {
	var decoded []byte
	bits, n := uint(0), 0
	for i := range len(text) {
		digit := strings.IndexByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_", text[i])
		if digit < 0 {
			continue
		}
		if digit > 63 {
			digit -= 2 // of the alphabet for URLs
		}
		bits, n = bits<<6|uint(digit), n+6
		if n >= 8 {
			n -= 8
			decoded = append(decoded, byte(bits>>n))
		}
	}
	return strings.Trim(string(decoded), ":")
}

// proof is a scheme that proves to have a key, by what is another one each time, and names it in a parameter.
type proof struct{ scheme, parameter, end string }

var proofs = [...]proof{
	{"aws4-", "Credential=", "/"}, // behind the key come date and region
	{"digest", "username=", ","}, {"signature", "keyId=", ","}, {"oauth", "oauth_consumer_key=", ","}, {"hawk", "id=", ","},
}

// signer gives the name of the key.
func (p proof) signer(value string) (string, bool) {
	_, rest, found := strings.Cut(value, p.parameter)
	if !found || strings.Contains(rest, p.parameter) {
		return "", false
	}
	key, _, _ := strings.Cut(rest, p.end)
	return strings.Trim(strings.TrimFunc(key, blank), `"`), true
}

// list says that a value is a list of several: it has a comma that is not inside quotes. Proxies make that of a repeated header.
func list(value string) bool {
	if strings.IndexByte(value, ',') < 0 {
		return false
	}
	quoted, comma := false, false
	for i := range len(value) {
		switch value[i] {
		case '"':
			quoted, comma = !quoted, false
		case ',':
			if !quoted {
				return true
			}
			comma = true
		}
	}
	return quoted && comma // the quote has no end
}

// parameter gives a parameter of a path's query, decoded; more says that there are several.
func parameter(path, name string) (value string, more bool) {
	_, query, _ := strings.Cut(path, "?")
	found := false
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		n, v, _ := strings.Cut(pair, "=")
		if n != name && (strings.IndexByte(n, '%') < 0 || unescape(n) != name) {
			continue
		}
		if found {
			return value, true
		}
		value, found = unescape(v), true
	}
	return value, false
}

// unescape decodes a part of a query; what is no escape stays.
func unescape(s string) string {
	if strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '+') < 0 {
		return s
	}
	const digits = "0123456789abcdef"
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '+' {
			c = ' '
		}
		if c == '%' && i+2 < len(s) {
			high, low := strings.IndexByte(digits, s[i+1]|0x20), strings.IndexByte(digits, s[i+2]|0x20)
			if high >= 0 && low >= 0 {
				c, i = byte(high<<4|low), i+2
			}
		}
		out = append(out, c)
	}
	return string(out)
}
