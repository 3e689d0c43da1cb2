package identitytest

import (
	"crypto/tls"
	"net/http"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

const (
	spent = "limits/requests_exceeded"
	token = `{"user":{"property":["metadata","filter_metadata","envoy.filters.http.jwt_authn","payload","sub"]}}`
)

// two is a limit of two requests a day.
func two(name, per string) string {
	return `{"name":"` + name + `","per":["` + per + `"],"unit":"requests","quantity":2,"window":"24h"}`
}

func TestWhoAsks(t *testing.T) {
	for name, workers := range map[string]int{"one worker": 1, "four workers": 4} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := start(t, workers)
			for _, test := range []struct {
				name string
				run  func(*testing.T, *gateway)
			}{
				{"tokens", byToken}, {"what is in a token", strangeTokens}, {"tokens before headers", tokenFirst}, {"certificates", byCertificate},
				{"parameters and cookies", byParameterAndCookie}, {"groups", groups}, {"sessions", sessions}, {"addresses", byAddress}, {"all in shadow", identifyInShadow},
			} {
				t.Run(test.name, func(t *testing.T) { test.run(t, g) })
			}
		})
	}
}

// Who has a token is who it says, and nobody else is.
func byToken(t *testing.T, g *gateway) {
	bearer := func(token string) string { return "authorization: Bearer " + token }
	ann, bob := bearer(g.keys.token(t, "RS256", "ann")), bearer(g.keys.token(t, "ES256", "bob"))
	g.configure(t, token, two("tokens", "user"))
	g.wants(t, 2, "", ann)
	g.wants(t, 1, spent, ann)
	g.wants(t, 1, spent, bearer(g.keys.token(t, "ES256", "ann")), "x-user-id: eve") // another token, and a header that isn't asked for
	g.wants(t, 1, "", bob, "x-user-id: ann", "cookie: sub=ann")

	// Forged ones are nobody's: all of them have two requests together, and take none of bob's.
	good := g.keys.token(t, "RS256", "bob")
	payload, signature := good[:strings.LastIndexByte(good, '.')], good[strings.LastIndexByte(good, '.'):]
	other := newKeys(t)
	g.wants(t, 1, "", bearer(other.token(t, "RS256", "bob")))
	g.wants(t, 1, "", bearer(g.keys.token(t, "none", "bob")))
	g.wants(t, 1, spent, bearer(other.token(t, "ES256", "cat")))
	g.charged(t, "user=anonymous")
	g.wants(t, 1, spent, bearer(payload+"x"+signature))
	g.wants(t, 1, spent)
	g.wants(t, 1, "", bob)
	g.wants(t, 1, spent, bob)
	g.charged(t, "user=bob")

	g.configure(t, strings.TrimSuffix(token, "}")+`,"missing":"reject"}`, two("known", "user"))
	g.wants(t, 1, "identity/missing", "x-user-id: ann")
	g.wants(t, 1, "identity/missing", bearer(other.token(t, "RS256", "ann")))
	g.wants(t, 1, "", ann)
	g.configure(t, token, strings.Replace(two("shadow", "user"), `"unit"`, `"mode":"shadow","unit"`, 1))
	g.wants(t, 3, "", ann)
	g.last(t).Want(t, map[string]string{"decision": "SHADOW", "subject": "user=ann"})
}

// What stands in a claim is text for people, whatever it is, and no label.
func strangeTokens(t *testing.T, g *gateway) {
	g.configure(t, strings.Replace(token, `"sub"`, `"id"`, 1), strings.Replace(two("strange", "user"), `"quantity":2`, `"quantity":1`, 1))
	long := strings.Repeat("u", 4000)
	for _, test := range []struct {
		id              any
		subject, reason string
	}{
		{12345, "user=12345", ""}, {0, "user=0", ""}, {-7.5, "user=-7.5", ""}, {true, "user=true", ""}, {false, "user=false", ""},
		{`"><script>alert(1)</script>`, `user="><script>alert(1)</script>`, ""}, {"eight888", "user=eight888", ""}, {"Änne Müller", "user=Änne_Müller", ""},
		{"", "user=anonymous", ""}, {nil, "user=anonymous", spent}, // the same nobody
		{long + "1", "user=uuuu*", ""}, {long + "2", "user=uuuu*", ""}, // two people
		{"ann\ndecision=ALLOWED", "", "identity/repeated_header"}, {[]string{"ann", "bob"}, "", "identity/repeated_header"},
		{map[string]any{"a": "ann"}, "", "identity/repeated_header"},
	} {
		bearer := "authorization: Bearer " + g.keys.tokenOf(t, "ES256", map[string]any{"id": test.id})
		g.wants(t, 1, test.reason, bearer)
		if test.subject == "" {
			continue
		}
		g.wants(t, 1, spent, bearer)
		g.charged(t, test.subject)
		if got := g.last(t).Text("subject"); len(got) > 64 {
			t.Errorf("%d bytes of a subject are shown", len(got))
		}
	}
	if text := g.Prometheus(); strings.Contains(text, "script") || strings.Contains(text, "uuuu") {
		t.Error("identities are in the metrics")
	}
}

// A header counts only where there is no token.
func tokenFirst(t *testing.T, g *gateway) {
	g.configure(t, `{"user":{"sources":[{"property":["metadata","filter_metadata","envoy.filters.http.jwt_authn","payload","sub"]}],"headers":["x-user-id"],"hash":true}}`,
		two("first", "user"))
	ann := "authorization: Bearer " + g.keys.token(t, "RS256", "ann")
	g.wants(t, 1, "", ann, "x-user-id: eve")
	g.wants(t, 1, "", ann, "x-user-id: sue", "x-user-id: eve")
	g.wants(t, 1, spent, ann, "x-user-id: bob")
	g.wants(t, 2, "", "x-user-id: bob")
	g.wants(t, 1, spent, "x-user-id: bob")
	g.charged(t, "user=h:*")
	g.wants(t, 1, "identity/repeated_header", "x-user-id: bob", "x-user-id: eve")
}

func byCertificate(t *testing.T, g *gateway) {
	g.configure(t, `{"user":{"property":["connection","uri_san_peer_certificate"]}}`, two("certificates", "user"))
	url := "https://" + g.Address(tls2) + chat
	client := func(uri string) *http.Client {
		return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: g.authority.client(t, uri)}}
	}
	ann, bob := client("spiffe://example/ann"), client("spiffe://example/bob")
	g.wantsFrom(t, ann, url, 2, "", "x-user-id: eve")
	g.wantsFrom(t, client("spiffe://example/ann"), url, 1, spent, "x-forwarded-client-cert: URI=spiffe://example/bob") // of another certificate
	g.charged(t, "user=spiffe://example/ann")
	g.wantsFrom(t, bob, url, 1, "")
	forged := &gateway{authority: newAuthority(t)}
	for name, config := range map[string]*http.Client{
		"no certificate": client(""),
		"somebody else's": {Transport: &http.Transport{TLSClientConfig: func() (c *tls.Config) {
			c = g.authority.client(t, "")
			c.Certificates = forged.authority.client(t, "spiffe://example/bob").Certificates
			return c
		}()}},
	} {
		if response, err := config.Post(url, "application/json", strings.NewReader(hello)); err == nil { //nolint:noctx // it fails at once
			_ = response.Body.Close()
			t.Errorf("%s: %s", name, response.Status)
		}
	}
	g.wantsFrom(t, bob, url, 1, "")
	g.wantsFrom(t, bob, url, 1, spent)
	g.wants(t, 2, "") // without TLS there is no certificate
	g.wants(t, 1, spent)
	g.charged(t, "user=anonymous")
}

// One key is one key, however it is written; two are refused.
func byParameterAndCookie(t *testing.T, g *gateway) {
	g.configure(t, `{"key":{"headers":["x-goog-api-key"],"query":["key"],"cookie":["sid"]}}`, two("keys", "key"))
	ask := func(n int, reason, query string, headers ...string) {
		t.Helper()
		g.wantsFrom(t, from("127.0.0.1"), g.URL+chat+query, n, reason, headers...)
	}
	ask(1, "", "?key=k1")
	ask(1, "", "", "cookie: a=b; sid=k1")
	ask(1, spent, "?alt=sse&key=%6b1")
	ask(1, spent, "", `cookie: sid="k1"`)
	ask(1, spent, "", "cookie: sid=k%31")
	ask(1, spent, "", "x-goog-api-key: k1")
	ask(1, spent, "?key=k1", "cookie: sid=k1")
	ask(1, "identity/conflicting_keys", "?key=k1", "cookie: sid=k2")
	ask(1, "identity/conflicting_keys", "?key=k1", "x-goog-api-key: k2")
	ask(1, "identity/repeated_header", "?key=k1&key=k2")
	ask(1, "identity/repeated_header", "", "cookie: sid=k3; sid=k1")
	ask(1, "identity/repeated_header", "", "cookie: sid=k3 sid=k1")
	ask(2, "", "", "cookie: sid=k2")
	ask(1, spent, "", "cookie: sid=k2")
	g.charged(t, "key=h:*")
}

// A team shares a budget, its members have their own inside it, and nobody outside uses it up.
func groups(t *testing.T, g *gateway) {
	const platform = "f8a9e2e6f6ac8bbca9bfe5b5bcd0fa8f4ee7a7a2a1a6d5b1d5c5a2d4e7e1b0c3" // of no key
	g.configure(t, strings.TrimSuffix(token, "}")+`,"groups":{"platform":{"keys":["sha256:`+platform+`"],"users":["ann","bob"]},"research":{"users":["eve"]}}}`,
		`{"name":"team","per":["group"],"unit":"requests","quantity":3,"window":"24h"},`+two("member", "user"))
	as := func(user string) string { return "authorization: Bearer " + g.keys.token(t, "ES256", user) }
	g.wants(t, 2, "", as("ann"))
	g.wants(t, 1, spent, as("ann"))
	g.wants(t, 3, spent, as("ann")) // what is refused takes nothing from the team
	for _, stranger := range []string{"x-user-id: bob", "x-group: platform", "group: platform"} {
		g.wants(t, 1, map[bool]string{true: spent}[stranger == "group: platform"], stranger) // all of them one anonymous user
	}
	g.wants(t, 1, "", as("bob"))
	g.wants(t, 1, spent, as("bob")) // the team's budget, of which he had one
	g.charged(t, "group=platform")
	g.wants(t, 2, "", as("eve"))
}

// A session ends for good, and says so; others go on.
func sessions(t *testing.T, g *gateway) {
	const over = "limits/lifetime_spent"
	g.configure(t, `{}`, `{"name":"steps","per":["user","header:x-session-id"],"match":{"headers":{"x-session-id":"*"}},"unit":"requests","quantity":3,"lifetime":true},
		{"name":"all","per":["user"],"unit":"requests","quantity":9,"window":"24h"}`)
	ann := "x-user-id: ann"
	g.wants(t, 3, "", ann, "x-session-id: s1")
	last := g.wants(t, 2, over, ann, "x-session-id: s1")
	if last.status != http.StatusTooManyRequests || last.header.Get("x-should-retry") != "false" || last.header.Get("retry-after") != "" || last.header.Get("retry-after-ms") != "" {
		t.Errorf("told: %d %v", last.status, last.header)
	}
	if !strings.Contains(last.body, "This session is over: the limit steps of 3 requests in all does not come back") || !strings.Contains(last.body, `"code":"insufficient_quota"`) {
		t.Errorf("told: %s", last.body)
	}
	g.charged(t, "user=ann header:x-session-id=h:*")
	g.wants(t, 1, "", "x-user-id: bob", "x-session-id: s1") // his own, whatever its name
	g.wants(t, 3, "", ann)                                  // in no session
	g.wants(t, 1, "identity/repeated_header", ann, "x-session-id: s1", "x-session-id: s2")
	g.wants(t, 3, "", ann, "x-session-id: s2")
	g.wants(t, 1, over, ann, "x-session-id: s2")
	g.wants(t, 1, spent, ann, "x-session-id: s3") // who makes sessions up has one limit for all of them
	g.wants(t, 1, spent, ann)

	const tokens = `{"name":"tokens","per":["header:x-session-id"],"unit":"totalTokens","quantity":15,"lifetime":true%}`
	g.configure(t, `{}`, strings.Replace(tokens, "%", "", 1)) // each answer is of 10
	g.wants(t, 2, "", "x-session-id: t1")
	g.wants(t, 1, over, "x-session-id: t1")
	g.configure(t, `{}`, strings.Replace(tokens, "%", `,"mode":"shadow"`, 1))
	g.wants(t, 1, "", "x-session-id: t1")
	g.last(t).Want(t, map[string]string{"decision": "SHADOW", "reason": "lifetime_spent"})
	if g.Sum("spillway_evictions_total") != 0 {
		t.Error("something was evicted")
	}
}

// Who comes from one address is one, whatever he writes; until the connection manager is told to believe it.
func byAddress(t *testing.T, g *gateway) {
	g.configure(t, `{"user":{"property":["source","address"]}}`, two("addresses", "user"))
	g.wants(t, 1, "")
	g.wants(t, 1, "", "x-forwarded-for: 192.0.2.1", "x-user-id: eve")
	for _, header := range []string{"x-forwarded-for: 192.0.2.2", "x-real-ip: 192.0.2.2", "forwarded: for=192.0.2.2", "x-envoy-external-address: 192.0.2.2"} {
		g.wants(t, 1, spent, header)
		g.charged(t, "user=127.0.0.1")
	}
	g.wantsFrom(t, from("127.0.0.2"), g.URL+chat, 2, "")
	g.wantsFrom(t, from("127.0.0.2"), g.URL+chat, 1, spent)

	err := g.ReplaceListeners(func(listeners []map[string]any) {
		harness.Visit(listeners, func(object map[string]any) {
			if _, is := object["use_remote_address"]; is {
				object["use_remote_address"] = false
			}
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	g.wants(t, 1, spent)
	for _, test := range []struct{ address, another, subject string }{
		{"192.0.2.3", "192.0.2.3", "192.0.2.3"}, {"::ffff:192.0.2.4", "192.0.2.4", "192.0.2.4"},
		{"2001:db8:1:2::7", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"}, {"2001:db8:1:3::7", "2001:db8:1:3:ffff::", "2001:db8:1:3::/64"},
	} {
		g.wants(t, 1, "", "x-forwarded-for: "+test.address)
		g.wants(t, 1, "", "x-forwarded-for: "+test.another)
		g.wants(t, 1, spent, "x-forwarded-for: "+test.address)
		g.charged(t, "user="+test.subject)
	}
}

// Whoever it is, and however that is known, in shadow mode he passes, is told nothing, and is named in the log.
func identifyInShadow(t *testing.T, g *gateway) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: g.authority.client(t, "spiffe://example/ann")}}
	for _, row := range []struct {
		source, subject, url string
		client               *http.Client
		header               string
	}{
		{`"query":["key"]`, "user=h:*", g.URL + chat + "?key=k1", from("127.0.0.1"), "x-user-id: eve"},
		{`"cookie":["sid"]`, "user=h:*", g.URL + chat, from("127.0.0.1"), "cookie: sid=k1"},
		{`"property":["connection","uri_san_peer_certificate"]`, "user=spiffe://example/ann", "https://" + g.Address(tls2) + chat, client, "x-user-id: eve"},
		{`"property":["source","address"]`, "user=127.0.0.3", g.URL + chat, from("127.0.0.3"), "x-user-id: eve"},
	} {
		g.configure(t, `{"user":{`+row.source+`}}`, two("in-shadow", "user"), `,"mode":"shadow","rateLimitStyle":"both"`)
		for i := range 4 {
			a := g.wantsFrom(t, row.client, row.url, 1, "", row.header)
			if told := a.header.Get("ratelimit-policy") + a.header.Get("x-ratelimit-limit-requests"); told != "" {
				t.Errorf("%s: told %q by a limit in shadow", row.source, told)
			}
			g.last(t).Want(t, map[string]string{"decision": []string{"ALLOWED", "SHADOW"}[i/2], "reason": []string{"", "requests_exceeded"}[i/2]})
			g.charged(t, []string{"", row.subject}[i/2])
		}
	}
}
