package config

import (
	"strings"
	"testing"
)

var hash = TokenHash + strings.Repeat("0123456789abcdef", 4)

func TestParseAdmin(t *testing.T) {
	wantEqual(t, mustParse(t, `{}`).Admin, Admin{Read: ReadOpen})
	wantEqual(t, mustParse(t, `{"admin": {"path": "/spillway", "tokens": ["`+hash+`", "sha256:`+strings.Repeat("ABCDEF00", 8)+`"], "read": "token"}}`).Admin,
		Admin{Path: "/spillway", Tokens: []string{hash, TokenHash + strings.Repeat("abcdef00", 8)}, Read: ReadToken})
}

// The surface's path is one that every server reads in the same way.
func TestParseAdminPath(t *testing.T) {
	for path, good := range map[string]bool{
		"": true, "/spillway": true, "/a/b_c-9": true,
		"/": false, "/a/": false, "//a": false, "/a//b": false, "a": false, "a/b": false, "/a/../b": false, "/.": false, "/a.b": false,
		"/a%20": false, "/a?b": false, "/a#b": false, "/a;b": false, "/ä": false, "/a b": false, `/a\\b`: false,
	} {
		_, err := Parse([]byte(`{"admin": {"path": "` + path + `"}}`))
		if (err == nil) != good {
			t.Errorf("%q: %v", path, err)
		}
	}
}
