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
	if contentEncoding == "" && contentType == "application/json" { // as nearly all are
		return f
	}
	for rest, more := contentEncoding, true; more; {
		var coding string
		coding, rest, more = strings.Cut(rest, ",")
		f.packed(strings.TrimSpace(coding))
	}
	if f.Odd || f.layers > mostLayers {
		f.layers, f.Odd = 0, true
	}
	kind, rest, more := strings.Cut(contentType, ";")
	for more {
		var parameter string
		parameter, rest, more = strings.Cut(rest, ";")
		name, value, _ := strings.Cut(parameter, "=")
		value = strings.Trim(strings.TrimSpace(value), `"`)
		switch name = strings.TrimSpace(name); {
		case strings.EqualFold(name, "charset"):
			f.Odd = f.Odd || !known(value)
		case strings.EqualFold(name, "boundary") && strings.EqualFold(strings.TrimSpace(kind), "multipart/form-data"):
			f.boundary = value
		}
	}
	return f
}

// packed takes a coding of the content.
func (f *Form) packed(coding string) {
	switch {
	case coding == "" || strings.EqualFold(coding, "identity"):
	case strings.EqualFold(coding, "gzip") || strings.EqualFold(coding, "x-gzip") || strings.EqualFold(coding, "deflate"):
		f.layers++
	default:
		f.Odd = true
	}
}

// known says of a charset that what is read without it is right: it is detected, or agrees with ASCII.
func known(charset string) bool {
	for _, prefix := range [...]string{"utf-8", "utf8", "utf-16", "utf-32", "us-ascii", "ascii", "iso-8859-", "latin", "windows-125"} {
		if len(charset) >= len(prefix) && strings.EqualFold(charset[:len(prefix)], prefix) {
			return true
		}
	}
	return charset == ""
}
