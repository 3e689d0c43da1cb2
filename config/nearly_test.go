package config

import (
	"strings"
	"testing"
)

func TestNearly(t *testing.T) {
	near := func(nearly string) string {
		return `{"limits":[{"name":"a","per":["user"],"unit":"requests","quantity":5,"window":"1h","nearly":` + nearly + `}]}`
	}
	c := mustParse(t, near(`{"at":0.8,"requestHeader":{"X-Budget":"low"},"responseHeader":true}`))
	n := c.Limits[0].Nearly
	if n.At != 0.8 || n.RequestHeader["x-budget"] != "low" || !n.ResponseHeader {
		t.Errorf("%+v", n)
	}
	if again := mustParse(t, string(c.JSON())).Limits[0].Nearly; again.At != n.At || again.RequestHeader["x-budget"] != "low" || !again.ResponseHeader {
		t.Errorf("what is shown of it reads as %+v", again)
	}
	if n := mustParse(t, near(`{"at":1}`)).Limits[0].Nearly; n.At != 1 {
		t.Errorf("%+v", n)
	}
	if n := mustParse(t, near(`{}`)).Limits[0].Nearly; n.At != 0 {
		t.Errorf("%+v", n)
	}
	const here, own = "limits[0].nearly.requestHeader", "is the proxy's or the server's own"
	cases := []errorCase{
		{near(`{"at":0}`), []string{"limits[0].nearly.at: 0: want a number above 0"}},
		{near(`{"at":1.1}`), []string{"limits[0].nearly.at: 1.1: want a number above 0"}},
		{near(`{"at":-0.5}`), []string{"limits[0].nearly.at: -0.5: want a number above 0"}},
		{near(`{"at":"NaN"}`), []string{`limits[0].nearly.at: "NaN": want a number above 0`}},
		{near(`{"at":1e999}`), []string{"limits[0].nearly.at: 1e999: want a number above 0"}},
		{near(`{"responseHeader":true}`), []string{"limits[0].nearly.at: missing; want the share"}},
		{near(`{"requestHeader":{"x-budget":"low"}}`), []string{"limits[0].nearly.at: missing; want the share"}},
		{near(`{"at":0.8,"requestHeader":{"x-budget":""}}`), []string{here + `.x-budget: "": want text of at least one`}},
		{near(`{"at":0.8,"requestHeader":{":path":"/x"}}`), []string{here + `[":path"]: wrong key; want a header name`}},
	}
	for _, name := range []string{"Host", "connection", "transfer-encoding", "content-length", "authorization", "cookie", "x-envoy-retry-on", "x-forwarded-for", "x-spillway-queue"} {
		cases = append(cases, errorCase{near(`{"at":0.8,"requestHeader":{"` + name + `":"1"}}`), []string{here + "." + strings.ToLower(name) + ": " + own}})
	}
	for name, by := range map[string]string{"x-user-id": "identity.user", "x-api-key": "identity.key", "x-tenant-id": "identity.tenant", "x-priority": "priority.header"} {
		cases = append(cases, errorCase{near(`{"at":0.8,"requestHeader":{"` + name + `":"1"}}`), []string{here + "." + name + ": is read by " + by}})
	}
	cases = append(cases,
		errorCase{`{"limits":[{"name":"a","per":["header:x-s"],"unit":"inflight","quantity":5,"nearly":{"at":0.5,"requestHeader":{"x-s":"1"}}}]}`, []string{here + ".x-s: is read by limits[0]"}},
		errorCase{`{"limits":[{"name":"a","unit":"inflight","quantity":5,"match":{"headers":{"x-s":"*"}}},{"name":"b","unit":"inflight","quantity":5,"nearly":{"at":0.5,"requestHeader":{"x-s":"1"}}}]}`,
			[]string{"limits[1].nearly.requestHeader.x-s: is read by limits[0]"}},
		errorCase{`{"limits":[{"name":"b","unit":"inflight","quantity":5,"nearly":{"at":0.5,"requestHeader":{"x-f":"1"}}}],"upstreams":[{"name":"u","breaker":{"fallback":{"routeHeader":{"x-f":"2"}}}}]}`,
			[]string{here + ".x-f: is read by upstreams[0]"}})
	checkErrors(t, cases)
}
