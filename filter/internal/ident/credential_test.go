package ident

import (
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/config"
	"pgregory.net/rapid"
)

// perKey is a configuration in which it matters whose key a request has.
const perKey = `{"limits":[{"name":"k","per":["key"],"unit":"requests","quantity":1,"window":"1h"}]}`

func keyOf(t *testing.T, headers ...[2]string) (string, *Refusal) {
	t.Helper()
	caller, refusal := read(t, perKey, []string{"key"}, headers...)
	return caller.Key, refusal
}

// Nobody is somebody else by writing his key in another way, or by adding another one: he is himself, or refused.
func TestASpellingOfAKeyIsNoNewSubject(t *testing.T) {
	want, _ := keyOf(t, [2]string{"x-api-key", "k"})
	nobody, _ := keyOf(t)
	for _, headers := range [][][2]string{
		{{"authorization", "Bearer k"}}, {{"authorization", "bearer k"}}, {{"authorization", "BEARER  k"}},
		{{"authorization", "Bearer\tk"}}, {{"authorization", " Bearer \t k "}}, {{"authorization", "Bearer\u00a0k"}},
		{{"authorization", "Bearer\x85k"}}, {{"authorization", "Bearer Bearer k"}}, {{"authorization", "Token k"}},
		{{"authorization", "ApiKey k"}}, {{"authorization", "Scheme-of-mine k"}}, {{"authorization", "k"}},
		{{"authorization", "Basic azo="}}, {{"authorization", "basic Oms"}}, // k: and :k
		{{"x-api-key", "Bearer k"}}, {{"api-key", "k"}}, {{"x-goog-api-key", " k\t"}},
		{{"authorization", ""}, {"x-api-key", "k"}}, {{"authorization", "Bearer"}, {"x-api-key", "k"}}, {{"authorization", "Bearer "}, {"api-key", "k"}},
		{{"authorization", "Bearer k"}, {"x-api-key", "k"}, {"x-goog-api-key", "k"}},
		{{":path", "/v1beta/models/g:generateContent?key=k"}}, {{":path", "/x?a=b&%6Bey=%6b&c"}}, {{":path", "/x?key=k"}, {"authorization", "Bearer k"}},
	} {
		if got, refusal := keyOf(t, headers...); refusal != nil || got != want {
			t.Errorf("%q: %s, %+v", headers, got, refusal)
		}
	}
	for _, test := range []struct {
		reason  string
		headers [][2]string
	}{
		{"conflicting_keys", [][2]string{{"authorization", "junk"}, {"x-api-key", "k"}}},
		{"conflicting_keys", [][2]string{{"authorization", "Bearer k"}, {"x-api-key", "junk"}}},
		{"conflicting_keys", [][2]string{{"authorization", "Basic anVuazo="}, {"api-key", "k"}}},
		{"conflicting_keys", [][2]string{{"x-goog-api-key", "k"}, {":path", "/x?key=junk"}}},
		{"repeated_header", [][2]string{{"authorization", "Bearer junk"}, {"authorization", "Bearer k"}}},
		{"repeated_header", [][2]string{{"authorization", "Bearer k"}, {"x-api-key", "k"}, {"x-api-key", "k"}}},
		{"repeated_header", [][2]string{{"authorization", "Bearer junk, Bearer k"}}},
		{"repeated_header", [][2]string{{"authorization", "Bearer junk,k"}}},
		{"repeated_header", [][2]string{{"authorization", "Bearer k junk"}}},
		{"repeated_header", [][2]string{{"authorization", "junk Bearer k"}}},
		{"repeated_header", [][2]string{{"authorization", "Basic azo= junk"}}},
		{"repeated_header", [][2]string{{"x-api-key", "junk, k"}}},
		{"repeated_header", [][2]string{{"x-api-key", "k junk"}}},
		{"repeated_header", [][2]string{{":path", "/x?key=junk&key=k"}}},
		{"repeated_header", [][2]string{{":path", "/x?key=junk&%6bey=k"}}},
		{"repeated_header", [][2]string{{"authorization", "AWS4-HMAC-SHA256 Signature=x"}}},
	} {
		got, refusal := keyOf(t, test.headers...)
		if refusal == nil || refusal.Reason != test.reason {
			t.Errorf("%q: %s, %+v, want %s", test.headers, got, refusal, test.reason)
		}
		if test.reason == "repeated_header" && got != nobody {
			t.Errorf("%q: who is refused is read as %s", test.headers, got)
		}
	}
	// What signs each request anew is one subject, by its access key.
	one, _ := keyOf(t, [2]string{"authorization", "AWS4-HMAC-SHA256 Credential=AKID/20260101/us-east-1/bedrock/aws4_request, SignedHeaders=host, Signature=1"})
	two, _ := keyOf(t, [2]string{"authorization", "AWS4-HMAC-SHA256 SignedHeaders=host,Credential=AKID/20260102/us-east-1/bedrock/aws4_request,Signature=2"})
	if one != two || one == nobody {
		t.Errorf("signed requests are %s and %s", one, two)
	}
	both, _ := keyOf(t, [2]string{"authorization", "Basic YW5uOms="}) // ann:k
	again, _ := keyOf(t, [2]string{"authorization", "Basic YW5uOms"})
	if both != again || both == want {
		t.Errorf("user and password: %s and %s", both, again)
	}
}

// Where nothing depends on the key, two of them are nobody's concern.
func TestConflictingKeysAreRefusedOnlyWhereTheyDecide(t *testing.T) {
	headers := [][2]string{{"authorization", "Bearer a"}, {"x-api-key", "b"}}
	for configuration, want := range map[string]bool{
		`{}`: false,
		`{"limits":[{"name":"u","per":["user"],"unit":"requests","quantity":1,"window":"1h"}]}`:                          false,
		`{"limits":[{"name":"u","per":["key"],"unit":"requests","quantity":1,"window":"1h","mode":"shadow"}]}`:           false,
		`{"limits":[{"name":"u","per":["user","key"],"unit":"requests","quantity":1,"window":"1h"}]}`:                    true,
		`{"priority":{"rules":[{"match":{"keys":["sk-*"]},"max":"low"}]}}`:                                               true,
		`{"upstreams":[{"name":"v","queue":{"fairness":"key"}}]}`:                                                        true,
		`{"identity":{"key":{"headers":["authorization"]}},"priority":{"rules":[{"match":{"keys":["*"]},"max":"low"}]}}`: false,
	} {
		if _, refusal := read(t, configuration, nil, headers...); (refusal != nil) != want {
			t.Errorf("%s: %+v", configuration, refusal)
		}
	}
}

// Where nothing depends on who somebody is, his name may have commas.
func TestANameWithACommaIsRefusedOnlyWhereItDecides(t *testing.T) {
	headers := [][2]string{{"x-user-id", "Doe, John"}, {"x-tenant-id", "ou=a,dc=b"}}
	for configuration, want := range map[string]string{
		`{}`: "",
		`{"limits":[{"name":"k","per":["key"],"unit":"requests","quantity":1,"window":"1h"}]}`:                           "",
		`{"limits":[{"name":"u","per":["user","tenant"],"unit":"requests","quantity":1,"window":"1h","mode":"shadow"}]}`: "",
		`{"limits":[{"name":"u","per":["user"],"unit":"requests","quantity":1,"window":"1h"}]}`:                          "x-user-id",
		`{"limits":[{"name":"t","per":["tenant"],"unit":"requests","quantity":1,"window":"1h"}]}`:                        "x-tenant-id",
		`{"limits":[{"name":"t","match":{"tenants":["a"]},"unit":"requests","quantity":1,"window":"1h"}]}`:               "x-tenant-id",
		`{"priority":{"rules":[{"match":{"tenants":["a"]},"max":"low"}]}}`:                                               "x-tenant-id",
		`{"priority":{"trust":[{"match":{"users":["a"]}}]}}`:                                                             "x-user-id",
		`{"priority":{"trust":[{"match":{"keys":["a"]}}]}}`:                                                              "",
		`{"upstreams":[{"name":"v"}]}`:                               "x-user-id", // whose turns are its users'
		`{"upstreams":[{"name":"v","queue":{"fairness":"tenant"}}]}`: "x-tenant-id",
		`{"upstreams":[{"name":"v","queue":{"fairness":"none"}}]}`:   "",
	} {
		got, refusal := read(t, configuration, nil, headers...)
		switch {
		case want != "":
			if refusal == nil || *refusal != (Refusal{Reason: "repeated_header", Header: want}) {
				t.Errorf("%s: %+v, want %s", configuration, refusal, want)
			}
		case refusal != nil || got.User != headers[0][1] || got.Tenant != headers[1][1]:
			t.Errorf("%s: %+v, %+v", configuration, got, refusal)
		}
	}
	got, refusal := read(t, `{}`, nil, [2]string{"x-user-id", "ann"}, [2]string{"x-user-id", "bob"}, [2]string{"x-api-key", "a"}, [2]string{"x-api-key", "b"})
	if refusal != nil || got.User != "ann" || got.Key != "anonymous" {
		t.Errorf("repeated: %+v, %+v", got, refusal)
	}
}

// A header that says who somebody is, or that a limit is per, has one value.
func TestAListInAnIdentityIsRefused(t *testing.T) {
	const perSession = `{"limits":[{"name":"s","per":["user","tenant","header:x-session"],"unit":"requests","quantity":1,"window":"1h"},
		{"name":"t","per":["header:x-shadow"],"unit":"requests","quantity":1,"window":"1h","mode":"shadow"}]}`
	for _, test := range []struct {
		headers [][2]string
		want    string
	}{
		{[][2]string{{"x-user-id", "junk, ann"}}, "x-user-id"},
		{[][2]string{{"x-user-id", "junk,ann"}}, "x-user-id"},
		{[][2]string{{"x-user-id", `"junk, ann`}}, "x-user-id"},
		{[][2]string{{"x-tenant-id", "a,"}}, "x-tenant-id"},
		{[][2]string{{"x-user-id", `Subject="CN=ann,O=acme";URI=x`}}, ""},
		{[][2]string{{"x-user-id", "ann smith"}}, ""},
		{[][2]string{{"x-session", "a"}, {"x-session", "b"}}, "x-session"},
		{[][2]string{{"x-session", "a, b"}}, "x-session"},
		{[][2]string{{"x-session", `"a, b"`}}, ""},
		{[][2]string{{"x-session", "a"}}, ""},
		{[][2]string{{"x-shadow", "a, b"}}, ""},
		{[][2]string{{"x-shadow", "a"}, {"x-shadow", "b"}}, ""},
	} {
		_, refusal := read(t, perSession, nil, test.headers...)
		if test.want == "" && refusal != nil || test.want != "" && (refusal == nil || *refusal != Refusal{Reason: "repeated_header", Header: test.want}) {
			t.Errorf("%q: %+v, want %q", test.headers, refusal, test.want)
		}
	}
}

// Of several priorities the lowest counts, whoever sent or added which.
func TestTheLowestOfSeveralPrioritiesCounts(t *testing.T) {
	for _, test := range []struct {
		values []string
		want   config.Priority
	}{
		{[]string{"urgent", "low"}, config.Low}, {[]string{"low", "urgent"}, config.Low}, {[]string{"urgent, low"}, config.Low},
		{[]string{"urgent,high"}, config.High}, {[]string{"junk", "high"}, config.High}, {[]string{"junk, x"}, config.Normal}, {[]string{""}, config.Normal},
	} {
		var headers [][2]string
		for _, value := range test.values {
			headers = append(headers, [2]string{"x-priority", value})
		}
		if got, refusal := read(t, `{}`, nil, headers...); refusal != nil || got.Priority != test.want {
			t.Errorf("%q: %v, %+v", test.values, got.Priority, refusal)
		}
	}
}

func TestAQueryIsReadForWhoConfiguresIt(t *testing.T) {
	const configuration = `{"identity":{"user":{"headers":["x-user-id"],"query":["user","u"]}}}`
	for path, want := range map[string]string{
		"/x?user=ann": "ann", "/x?u=bob": "bob", "/x?u=bob&user=ann": "ann", "/x?user=&u=b+o%62": "b ob", "/x?user=+%20ann%09": "ann", "/x?User=ann": "anonymous",
		"/x?user%": "anonymous", "/x?user=%zz": "%zz", "/x": "anonymous", "/user=ann": "anonymous", "": "anonymous",
	} {
		if got, refusal := read(t, configuration, nil, [2]string{":path", path}); refusal != nil || got.User != want {
			t.Errorf("%s: %q, %+v", path, got.User, refusal)
		}
	}
	if got, _ := read(t, configuration, nil, [2]string{":path", "/x?user=ann"}, [2]string{"x-user-id", "eve"}); got.User != "eve" {
		t.Errorf("the header goes first: %q", got.User)
	}
}

// An adversary with a key who adds whatever he likes to his headers, as long as the key is among them where a server would look,
// is always the same, or refused.
func TestJunkAroundAKeyIsNoNewSubject(t *testing.T) {
	want, _ := keyOf(t, [2]string{"x-api-key", "real"})
	rapid.Check(t, func(r *rapid.T) {
		piece := rapid.SampledFrom([]string{" ", "\t", ",", "Bearer", "bearer ", "Basic ", "Token ", "junk", "real", "\u00a0", ":", "="})
		junk := func(name string) string { return strings.Join(rapid.SliceOfN(piece, 0, 4).Draw(r, name), "") }
		place := rapid.SampledFrom([]string{"authorization", "x-api-key", "api-key", "x-goog-api-key"})
		headers := [][2]string{{place.Draw(r, "place"), rapid.SampledFrom([]string{"real", "Bearer real", "bearer\treal"}).Draw(r, "real")}}
		for range rapid.IntRange(0, 3).Draw(r, "others") {
			headers = append(headers, [2]string{place.Draw(r, "other"), junk("junk")})
		}
		headers = rapid.Permutation(headers).Draw(r, "order")
		if rapid.Bool().Draw(r, "query") {
			headers = append(headers, [2]string{":path", "/x?key=" + junk("query")})
		}
		caller, refusal := keyOf(t, headers...)
		if refusal == nil && caller != want {
			r.Fatalf("%q: %s, want %s", headers, caller, want)
		}
	})
}

func TestAnOrdinaryKeyCostsNothing(t *testing.T) {
	if n := testing.AllocsPerRun(10, func() { credential("authorization", "Bearer sk-ABC"); credential("x-api-key", "sk-ABC") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzCredential(f *testing.F) {
	f.Add("authorization", "Bearer k")
	f.Add("authorization", "AWS4-HMAC-SHA256 Credential=a/b, Signature=c")
	f.Add("x-api-key", "Basic azo=")
	f.Fuzz(func(t *testing.T, name, value string) {
		key, one := credential(name, value)
		if !one && key != "" {
			t.Fatalf("%q: %q", value, key)
		}
		unescape(value)
		parameter(value, name)
		list(value)
	})
}
