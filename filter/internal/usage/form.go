package usage

import "strings"

// Form is how a request's body is packed, as its headers say.
type Form struct {
	layers   int    // of compression by gzip or deflate
	Odd      bool   // it may have to be read in a way that nobody here knows
	boundary string // of multipart/form-data
}

// mostLayers is how often a body may be compressed: a layer takes 64 KB.
const mostLayers = 3

// NewForm reads the headers. Both may be "".
func NewForm(contentEncoding, contentType string) Form {
	var f Form
	for coding := range strings.SplitSeq(contentEncoding, ",") {
		switch strings.ToLower(strings.TrimSpace(coding)) {
		case "", "identity":
		case "gzip", "x-gzip", "deflate":
			f.layers++
		default:
			f.Odd = true
		}
	}
	if f.Odd || f.layers > mostLayers {
		f.layers, f.Odd = 0, true
	}
	kind, rest, _ := strings.Cut(contentType, ";")
	for parameter := range strings.SplitSeq(rest, ";") {
		name, value, _ := strings.Cut(parameter, "=")
		value = strings.Trim(strings.TrimSpace(value), `"`)
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "charset":
			f.Odd = f.Odd || !known(value)
		case "boundary":
			if strings.EqualFold(strings.TrimSpace(kind), "multipart/form-data") {
				f.boundary = value
			}
		}
	}
	return f
}

// known says of a charset that what is read without it is right: it is detected, or agrees with ASCII.
func known(charset string) bool {
	charset = strings.ToLower(charset)
	for _, prefix := range []string{"utf-8", "utf8", "utf-16", "utf-32", "us-ascii", "ascii", "iso-8859-", "latin", "windows-125"} {
		if strings.HasPrefix(charset, prefix) {
			return true
		}
	}
	return charset == ""
}
