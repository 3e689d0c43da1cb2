package ident

import (
	"testing"

	"github.com/spillway-proxy/spillway/config"
)

func TestWhatIsNeverShown(t *testing.T) {
	plain := `{}`
	for _, test := range []struct {
		configuration, per string
		want               bool
	}{
		{plain, "user", false}, {plain, "tenant", false}, {plain, "model", false}, {plain, "priority", false}, {plain, "key", true},
		{`{"identity":{"key":{"hash":false}}}`, "key", true},
		{`{"identity":{"user":{"hash":true}}}`, "user", true},
		{`{"identity":{"tenant":{"headers":["x-team"],"hash":true}}}`, "tenant", true},
		{`{"identity":{"user":{"headers":["x-name","authorization"]}}}`, "user", true},
		{`{"identity":{"tenant":{"headers":["x-api-key"]}}}`, "tenant", true},
		{`{"identity":{"user":{"query":["access_token"]}}}`, "user", true},
		{plain, "header:x-team", false}, {plain, "header:x-envoy-external-address", false},
		{plain, "header:x-api-key", true}, {plain, "header:cookie", true}, {plain, "header:x-session-id", true}, {plain, "header:proxy-authorization", true},
		{plain, "header:x-goog-iap-jwt-assertion", true},
	} {
		c, err := config.Parse([]byte(test.configuration))
		if err != nil {
			t.Fatal(err)
		}
		if got := Secret(&c.Identity, test.per); got != test.want {
			t.Errorf("%s, per %s: %v", test.configuration, test.per, got)
		}
	}
	for name := range credentials {
		if !secretName(name) {
			t.Errorf("%s can be shown", name)
		}
	}
}
