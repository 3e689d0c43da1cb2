package config

import "unicode/utf8"

// MatchGlob says whether all of s matches pattern: * is any run of characters, ? exactly one, everything else is
// literal (there is no escape). It never backtracks past the latest *, so that the time is at most
// len(pattern) × len(s), whatever the pattern.
func MatchGlob(pattern, s string) bool {
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
		case p < len(pattern) && pattern[p] == s[i]:
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
