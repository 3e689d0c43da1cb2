package config

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestMatchGlob(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true}, {"", "a", false}, {"*", "", true}, {"*", "any/thing", true}, {"?", "", false}, {"?", "é", true},
		{"*??", "€", false}, {"llama-*", "llama-3", true}, {"llama-*", "Llama-3", false}, {"*-70b*", "llama-70b-chat", true},
		{"a?c", "abc", true}, {"a*b*c", "aXbXbc", true}, {"a*b*c", "aXcXb", false}, {"[a]", "a", false}, {"[a]", "[a]", true},
		{`\*`, `\x`, true}, {"a.c", "abc", false}, {"*a", "aab", false},
	} {
		if got := MatchGlob(c.pattern, c.s); got != c.want {
			t.Errorf("MatchGlob(%q, %q) = %v", c.pattern, c.s, got)
		}
	}
}

func TestTheCaseOfAModelIsNoDifference(t *testing.T) {
	for _, c := range []struct {
		pattern, model string
		want           bool
	}{
		{"mock*", "MOCK-1", true}, {"Mock", "mOCK", true}, {"meta-llama/*", "Meta-Llama/Llama-3", true}, {"gpt-4?", "GPT-4O", true},
		{"a[", "a{", false}, {"a@", "a`", false}, {"mock", "mocks", false},
	} {
		if MatchModel([]string{"none", c.pattern}, c.model) != c.want {
			t.Errorf("%s, %s", c.pattern, c.model)
		}
	}
	if !MatchModel(nil, "x") {
		t.Error("no patterns match nothing")
	}
}

func TestMatchAny(t *testing.T) {
	if !MatchAny(nil, "x") || !MatchAny([]string{"a", "x*"}, "xy") || MatchAny([]string{"a", "b"}, "x") {
		t.Error("want a match of any pattern, and of everything without patterns")
	}
}

// naive is the definition of a glob, exponential in the number of stars.
func naive(pattern, s []rune) bool {
	if len(pattern) == 0 {
		return len(s) == 0
	}
	if pattern[0] == '*' {
		return naive(pattern[1:], s) || len(s) > 0 && naive(pattern, s[1:])
	}
	return len(s) > 0 && (pattern[0] == '?' || pattern[0] == s[0]) && naive(pattern[1:], s[1:])
}

func TestMatchGlobIsTheNaiveMatch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pattern := rapid.SliceOfN(rapid.SampledFrom([]rune("ab*?é€")), 0, 8).Draw(t, "pattern")
		s := rapid.SliceOfN(rapid.SampledFrom([]rune("abé€")), 0, 10).Draw(t, "s")
		if got, want := MatchGlob(string(pattern), string(s)), naive(pattern, s); got != want {
			t.Fatalf("MatchGlob(%q, %q) = %v, want %v", string(pattern), string(s), got, want)
		}
	})
}

// If it were, this would not end.
func TestMatchGlobIsNotExponential(t *testing.T) {
	if MatchGlob(strings.Repeat("a*", 500)+"b", strings.Repeat("a", 5000)) {
		t.Error("want no match")
	}
}
