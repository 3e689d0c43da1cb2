package config

import "strings"

// rule is what a string must be like.
type rule struct {
	want    string                                // such as "a header name"
	pattern string                                // the same for the JSON Schema, in ECMA-262's syntax; "" is any string
	accept  func(s string) (kept string, ok bool) // the form that the Config keeps, and whether s follows the rule
}

// The patterns' parts.
const (
	tokenPattern = "[!#$%&'*+.^_`|~0-9A-Za-z-]+" // RFC 9110, section 5.6.2
	maxName      = 64
)

var (
	anyText  = rule{want: "a string", accept: func(s string) (string, bool) { return s, true }}
	someText = rule{want: "a string of at least one character", pattern: "^[\\s\\S]",
		accept: func(s string) (string, bool) { return s, s != "" }}
	globs = rule{want: `a glob such as "llama-*"`, pattern: someText.pattern, accept: someText.accept}
	names = rule{want: `a name of 1 to 64 letters, digits, "_", "." and "-"`, pattern: "^[A-Za-z0-9_.-]{1,64}$",
		accept: func(s string) (string, bool) { return s, s != "" && len(s) <= maxName && all(s, isNameByte) }}
	headerNames      = rule{want: `a header name such as "x-user-id"`, pattern: "^" + tokenPattern + "$", accept: acceptHeader}
	maybeHeaderNames = rule{want: `"" or a header name such as "x-priority"`, pattern: "^(" + tokenPattern + ")?$",
		accept: func(s string) (string, bool) { h, ok := acceptHeader(s); return h, ok || s == "" }}
	queryNames = rule{want: `the name of a query parameter, such as "key"`, pattern: "^[!\"$'-*,-.0-<>@-~]+$",
		accept: func(s string) (string, bool) { return s, s != "" && all(s, isQueryNameByte) }}
	cookieNames = rule{want: `the name of a cookie, such as "sid"`, pattern: "^" + tokenPattern + "$",
		accept: func(s string) (string, bool) { return s, s != "" && all(s, isTokenByte) }}
	someValue = rule{want: "text of at least one character, without control characters", pattern: "^[^\\x00-\\x08\\x0a-\\x1f\\x7f]+$",
		accept: func(s string) (string, bool) { return s, s != "" && all(s, isHeaderValueByte) }}
	headerValues = rule{want: "a header value without control characters", pattern: "^[^\\x00-\\x08\\x0a-\\x1f\\x7f]*$",
		accept: func(s string) (string, bool) { return s, all(s, isHeaderValueByte) }}
	paths = rule{want: `a path that starts with "/", such as "/v1/pressure", without spaces, "?" and "#"`, pattern: "^/[!\"$->@-~]*$",
		accept: func(s string) (string, bool) { return s, strings.HasPrefix(s, "/") && all(s, isPathByte) }}
	adminPaths = rule{want: `"" or a path such as "/spillway", of letters, digits, "_" and "-" between its slashes`, pattern: "^(/[A-Za-z0-9_-]+)*$",
		accept: func(s string) (string, bool) { return s, acceptAdminPath(s) }}
	zones = rule{want: `"" or a distance from UTC such as "+08:00"`, pattern: "^(Z|[+-][01][0-9]:[0-5][0-9])?$",
		accept: func(s string) (string, bool) {
			zone, ok := zoneOffset(s)
			return s, s == "" || ok && zone < 20*3600 && zone > -20*3600 && s != "z"
		}}
	windows = rule{want: `hour, day, week or month, or a duration such as "60s" or "1h", from 1s to 8784h`,
		pattern: "^(hour|day|week|month|" + durationPattern + ")$",
		accept:  func(s string) (string, bool) { _, _, ok := windowOf(s); return s, ok }}
	tokenHashes = hashOf("token")
	keyHashes   = hashOf("key")
	// priorityNames are kept in lower case.
	priorityNames = rule{want: priorityKind{}.want(), pattern: "^([Uu][Rr][Gg][Ee][Nn][Tt]|[Hh][Ii][Gg][Hh]|[Nn][Oo][Rr][Mm][Aa][Ll]|[Mm][Ee][Dd][Ii][Uu][Mm]|[Ll][Oo][Ww])$",
		accept: func(s string) (string, bool) { p, ok := ParsePriority(s); return p.key(), ok }}
	fairnesses = rule{want: "user, tenant, key, none or header:<name>", pattern: "^(user|tenant|key|none|header:" + tokenPattern + ")$", accept: acceptFairness}
	perParts   = rule{want: "user, tenant, key, group, model, priority or header:<name>",
		pattern: "^(user|tenant|key|group|model|priority|header:" + tokenPattern + ")$", accept: acceptPer}
)

// word is the rule of a string that is one of a few.
func word(words ...string) rule {
	return rule{want: oneOf(words), pattern: "^(" + strings.ReplaceAll(strings.Join(words, "|"), ".", "\\.") + ")$",
		accept: func(s string) (string, bool) {
			for _, w := range words {
				if s == w {
					return s, true
				}
			}
			return s, false
		}}
}

// oneOf is such as "a, b or c".
func oneOf(words []string) string {
	last := len(words) - 1
	if last < 1 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

func acceptHeader(s string) (string, bool) { return strings.ToLower(s), s != "" && all(s, isTokenByte) }

func acceptPer(s string) (string, bool) {
	if header, ok := strings.CutPrefix(s, PerHeader); ok {
		header, ok = acceptHeader(header)
		return PerHeader + header, ok
	}
	switch s {
	case PerUser, PerTenant, PerKey, PerGroup, PerModel, PerPriority:
		return s, true
	default:
		return s, false
	}
}

func acceptFairness(s string) (string, bool) {
	switch Fairness(s) {
	case FairToUsers, FairToTenants, FairToKeys, FairToNone:
		return s, true
	}
	if !strings.HasPrefix(s, PerHeader) {
		return s, false
	}
	return acceptPer(s)
}

// acceptAdminPath takes what no server reads in two ways.
func acceptAdminPath(s string) bool {
	if s == "" {
		return true
	}
	segments := strings.Split(s, "/")
	for _, segment := range segments[1:] {
		if segment == "" || strings.IndexByte(segment, '.') >= 0 || !all(segment, isNameByte) {
			return false
		}
	}
	return segments[0] == ""
}

// hashOf is the rule of what is given by its SHA-256.
func hashOf(what string) rule {
	return rule{want: `"sha256:" and the 64 hexadecimal digits of a ` + what + `'s SHA-256`, pattern: "^" + TokenHash + "[0-9A-Fa-f]{64}$",
		accept: acceptTokenHash}
}

func acceptTokenHash(s string) (string, bool) {
	const digits = 64
	hash, ok := strings.CutPrefix(s, TokenHash)
	return strings.ToLower(s), ok && len(hash) == digits && all(hash, isHexadecimal)
}

func all(s string, is func(byte) bool) bool {
	for i := 0; i < len(s); i++ {
		if !is(s[i]) {
			return false
		}
	}
	return true
}

func isAlphanumeric(b byte) bool {
	return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9'
}

func isHexadecimal(b byte) bool {
	return '0' <= b && b <= '9' || 'a' <= b && b <= 'f' || 'A' <= b && b <= 'F'
}
func isNameByte(b byte) bool { return isAlphanumeric(b) || b == '_' || b == '.' || b == '-' }
func isTokenByte(b byte) bool {
	return isAlphanumeric(b) || strings.IndexByte("!#$%&'*+-.^_`|~", b) >= 0
}
func isVisible(b byte) bool         { return '!' <= b && b <= '~' }
func isPathByte(b byte) bool        { return isVisible(b) && b != '?' && b != '#' }
func isQueryNameByte(b byte) bool   { return isVisible(b) && strings.IndexByte("#%&+/=?", b) < 0 }
func isHeaderValueByte(b byte) bool { return b == '\t' || b >= ' ' && b != 0x7f }
