package config

import (
	"reflect"
	"strings"
	"testing"
)

// Who says that users are told by their tokens doesn't want them told by a header that anybody can send.
func TestAnotherPlaceTakesThatOfTheUsualHeaders(t *testing.T) {
	sub := []string{"metadata", "sub"}
	for _, test := range []struct {
		identity string
		user     Source
	}{
		{`{"user":{}}`, Source{Place: Place{Headers: []string{"x-user-id"}}}},
		{`{"user":{"property":["metadata","sub"]}}`, Source{Place: Place{Property: sub}}},
		{`{"user":{"property":["metadata","sub"],"headers":["x-user-id"]}}`, Source{Place: Place{Headers: []string{"x-user-id"}, Property: sub}}},
		{`{"user":{"cookie":["sid"]}}`, Source{Place: Place{Cookie: []string{"sid"}}}},
		{`{"user":{"query":["u"]}}`, Source{Place: Place{Headers: []string{"x-user-id"}, Query: []string{"u"}}}},
		{`{"user":{"sources":[{"cookie":["sid"]}],"headers":["x-user-id"]}}`,
			Source{Sources: []Place{{Cookie: []string{"sid"}}}, Place: Place{Headers: []string{"x-user-id"}}}},
		{`{"user":{"sources":[{"property":["metadata","sub"]},{"headers":["X-User"]}],"hash":true}}`,
			Source{Sources: []Place{{Property: sub}, {Headers: []string{"x-user"}}}, Hash: true}},
	} {
		c, err := Parse([]byte(`{"identity":` + test.identity + `}`))
		if err != nil {
			t.Fatal(err)
		}
		got, want := c.Identity.User, test.user
		if !sameSource(&got, &want) {
			t.Errorf("%s: %+v, want %+v", test.identity, got, want)
		}
		again, err := Parse(c.JSON())
		if err != nil || !sameSource(&again.Identity.User, &want) {
			t.Errorf("%s: what is shown of it reads as %+v, %v", test.identity, again.Identity.User, err)
		}
	}
	c, err := Parse([]byte(`{"identity":{"key":{"property":["metadata","azp"]}}}`))
	if err != nil || len(c.Identity.Key.Headers)+len(c.Identity.Key.Query) > 0 {
		t.Errorf("a key of a token: %+v, %v", c.Identity.Key, err)
	}
}

// sameSource compares sources; an empty list is none.
func sameSource(a, b *Source) bool {
	flat := func(s *Source) []string {
		var all []string
		for _, p := range append([]Place{s.Place}, s.Sources...) {
			for _, list := range [][]string{p.Headers, p.Property, p.Query, p.Cookie} {
				all = append(append(all, list...), "|")
			}
		}
		return all
	}
	return reflect.DeepEqual(flat(a), flat(b)) && a.Hash == b.Hash
}

func TestPlacesThatNobodyCanBeFoundAt(t *testing.T) {
	for user, want := range map[string]string{
		`{"property":["metadata.filter_metadata.sub"]}`: `identity.user.property[0]: "metadata.filter_metadata.sub": no attribute of Envoy's; want metadata`,
		`{"property":["connection"]}`:                   "identity.user.property",
		`{"property":["metadata",""]}`:                  "identity.user.property[1]",
		`{"property":["metadata","a\u0000b"]}`:          "identity.user.property[1]",
		`{"sources":[{}]}`:                              "identity.user.sources[0]",
		`{"sources":[{"property":["headers","x"]}]}`:    "identity.user.sources[0].property[0]",
		`{"sources":[{"hash":true,"cookie":["a"]}]}`:    "identity.user.sources[0].hash",
		`{"cookie":["a b"]}`:                            "identity.user.cookie[0]",
		`{"cookie":[""]}`:                               "identity.user.cookie[0]",
	} {
		_, err := Parse([]byte(`{"identity":{"user":` + user + `}}`))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", user, err, want)
		}
	}
}
