package reply

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// Format is the shape of an API's error bodies. It is the dialect's own, and is only read here.
type Format struct {
	// Body is JSON. In it stand for what a refusal says: $message$, $status$ (a number), $word$ (the API's own for the status), and,
	// in OpenAI's words, $type$ and $code$.
	Body  string
	Words []Word // the last one is for every other status
	// Anthropic says that the API has headers of Anthropic's that tell of limits.
	Anthropic bool
}

// Word is what an API calls a status.
type Word struct {
	Status int
	Text   string
}

// Dynamo is NVIDIA Dynamo's format, which the configuration may ask for in all dialects.
var Dynamo = Format{
	Body:  `{"message":$message$,"type":$word$,"code":$status$}`,
	Words: []Word{{429, "rate_limit_exceeded"}, {0, "service_unavailable"}},
}

// Append appends a body. kind and code are in OpenAI's words.
func (f *Format) Append(b []byte, status int, message, kind, code string) []byte {
	text, rest, more := strings.Cut(f.Body, "$")
	for b = append(b, text...); more; b = append(b, text...) {
		var name string
		name, rest, _ = strings.Cut(rest, "$")
		switch name {
		case "message":
			b = appendString(b, message)
		case "type":
			b = appendString(b, kind)
		case "code":
			b = appendString(b, code)
		case "word":
			b = appendString(b, f.word(status))
		case "status":
			b = strconv.AppendInt(b, int64(status), 10)
		}
		text, rest, more = strings.Cut(rest, "$")
	}
	return b
}

func (f *Format) word(status int) (text string) {
	for i := range f.Words {
		if text = f.Words[i].Text; f.Words[i].Status == status {
			break
		}
	}
	return text
}

// appendString appends a JSON string (RFC 8259, section 7).
func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for len(s) > 0 {
		n := plain(s)
		b = append(b, s[:n]...)
		if s = s[n:]; s == "" {
			break
		}
		c, size := utf8.DecodeRuneInString(s)
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', byte(c))
		case c < ' ' || c == 0x7f:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			b = utf8.AppendRune(b, c)
		}
		s = s[size:]
	}
	return append(b, '"')
}

// plain gives how many bytes s begins with that stand for themselves, mostly all: each append costs.
func plain(s string) int {
	i := 0
	for i < len(s) && s[i] >= ' ' && s[i] < 0x7f && s[i] != '"' && s[i] != '\\' {
		i++
	}
	return i
}
