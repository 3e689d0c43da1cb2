package llmsim

import (
	"encoding/json"
	"strconv"
)

// appendJSONString appends s as a JSON string.
func appendJSONString(b []byte, s string) []byte {
	b = append(b, '"')
	b = append(b, jsonEscape(s)...)
	return append(b, '"')
}

// jsonEscape returns s as it stands inside a JSON string.
func jsonEscape(s string) string {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] > '~' || s[i] == '"' || s[i] == '\\' {
			quoted, _ := json.Marshal(s) // a string always marshals
			return string(quoted[1 : len(quoted)-1])
		}
	}
	return s
}

// defaultWords are the tokens of an answer that nobody scripted; as in a real
// vocabulary, a word carries the space before it.
var defaultWords = []string{
	" water", " rises", " until", " it", " finds", " the", " spillway", " and",
	" then", " every", " drop", " waits", " its", " turn", " to", " pass",
}

// precomputed is how many tokens of default text are kept ready.
const precomputed = 2048

// defaultText is the ready text, and defaultEnds where each number of tokens ends
// in it.
var defaultText, defaultEnds = func() (string, []int) {
	var text []byte
	ends := make([]int, 1, precomputed+1)
	for i := range precomputed {
		text = appendToken(text, nil, i)
		ends = append(ends, len(text))
	}
	return string(text), ends
}()

// appendToken appends the i-th token of a text that repeats words.
func appendToken(b []byte, words []string, i int) []byte {
	if words == nil {
		word := defaultWords[i%len(defaultWords)]
		if i == 0 {
			word = word[1:]
		}
		return append(b, word...)
	}
	word := words[i%len(words)]
	if i > 0 && i%len(words) == 0 && word[0] != ' ' {
		b = append(b, ' ')
	}
	return append(b, word...)
}

// appendText appends the first n tokens.
func appendText(b []byte, words []string, n int) []byte {
	if words == nil && n <= precomputed {
		return append(b, defaultText[:defaultEnds[n]]...)
	}
	for i := range n {
		b = appendToken(b, words, i)
	}
	return b
}

func appendInt(b []byte, name string, n int) []byte {
	b = append(b, name...)
	return strconv.AppendInt(b, int64(n), 10)
}

// usage is the token accounting of an answer.
type usage struct {
	prompt, cached, completion, reasoning int
}

func (u usage) append(b []byte) []byte {
	b = appendInt(b, `{"prompt_tokens":`, u.prompt)
	b = appendInt(b, `,"completion_tokens":`, u.completion)
	b = appendInt(b, `,"total_tokens":`, u.prompt+u.completion)
	b = appendInt(b, `,"prompt_tokens_details":{"cached_tokens":`, u.cached)
	b = appendInt(b, `},"completion_tokens_details":{"reasoning_tokens":`, u.reasoning)
	return append(b, "}}"...)
}

// modelList is the answer of GET /v1/models.
func modelList(names []string, created int64) []byte {
	b := []byte(`{"object":"list","data":[`)
	for i, name := range names {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"id":`...)
		b = appendJSONString(b, name)
		b = append(b, `,"object":"model","created":`...)
		b = strconv.AppendInt(b, created, 10)
		b = append(b, `,"owned_by":"llmsim","root":`...)
		b = appendJSONString(b, name)
		b = append(b, `,"parent":null,"max_model_len":131072}`...)
	}
	return append(b, "]}"...)
}
