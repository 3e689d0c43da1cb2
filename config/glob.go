package config

import "unicode/utf8"

// MatchGlob says whether all of s matches pattern: * is any run of characters, ? exactly one, everything else is
// literal (there is no escape). It never backtracks past the latest *, so that the time is at most
// len(pattern) × len(s), whatever the pattern.
func MatchGlob(pattern, s string) bool { return match(pattern, s, same) }

// match is MatchGlob by what two equal bytes are.
func match(pattern, s string, equal func(a, b byte) bool) bool {
	p, i := 0, 0
	star, retry := -1, 0 // the latest * in pattern, and where in s the text after it is tried next
	for i < len(s) {
		_, width := utf8.DecodeRuneInString(s[i:])
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, retry = p, i
			p++
		case p < len(pattern) && pattern[p] == '?':
			p++
			i += width
		case p < len(pattern) && equal(pattern[p], s[i]):
			p++
			i++
		case star >= 0:
			_, width = utf8.DecodeRuneInString(s[retry:])
			retry += width
			p, i = star+1, retry
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// MatchAny says whether s matches one of the patterns; no patterns at all match everything.
func MatchAny(patterns []string, s string) bool {
	for _, pattern := range patterns {
		if MatchGlob(pattern, s) {
			return true
		}
	}
	return len(patterns) == 0
}

// MatchModel is MatchAny for names of models, in which the case of ASCII's letters is no difference: to some servers (Azure, Ollama) it
// is none, and a limit must not be passed by writing a name in another way.
func MatchModel(patterns []string, model string) bool {
	for _, pattern := range patterns {
		if match(pattern, model, sameFold) {
			return true
		}
	}
	return len(patterns) == 0
}

func same(a, b byte) bool { return a == b }

func sameFold(a, b byte) bool { return a == b || a|0x20 == b|0x20 && 'a' <= a|0x20 && a|0x20 <= 'z' }
