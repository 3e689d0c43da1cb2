package securitytest

import (
	"fmt"
	"strings"
	"testing"
)

// never: one caller's long answers, or its prompts that are not in the body, refuse nobody else, and nobody for good.
func (g *limited) never(t *testing.T) {
	for i, test := range []struct{ unit, body string }{
		{"completionTokens", unbounded},
		{"totalTokens", unbounded},
		{"totalTokens", strings.Replace(unbounded, "hello", strings.Repeat("word ", 1600), 1)}, // two thousand tokens: a guess
	} {
		g.configure(t, fmt.Sprintf(`{"limits":[{"name":"n%d","per":["user"],"unit":%q,"quantity":1000,"window":"1h","admission":"strict"}]}`, i, test.unit))
		for range 4 {
			g.act(t, "mallory", "tokens=3000")
		}
		for n := range 4 {
			if a := g.send(t, "POST", chatPath, test.body, fmt.Sprintf("x-user-id: stranger%d", n)); a.status != 200 {
				t.Errorf("%s: a stranger got %d: %s", test.unit, a.status, a.body)
			}
		}
		if a := g.act(t, "mallory", ""); a.status != 429 || a.reason() != "limits/tokens_exceeded" {
			t.Errorf("%s: mallory got %d, %s", test.unit, a.status, a.reason())
		}
		stated := strings.Replace(unbounded, "{", `{"max_tokens":1001,`, 1)
		if a := g.send(t, "POST", chatPath, stated, "x-user-id: x"); a.reason() != "limits/request_too_large" || a.headers.Get("x-should-retry") != "false" {
			t.Errorf("%s: what states more than the limit got %d, %s", test.unit, a.status, a.reason())
		}
	}
	g.configure(t, `{"upstreams":[{"name":"n","models":["*"],"budget":{"tokens":6000,"window":"1h"}}]}`)
	of := func(user, act string) answer {
		return g.send(t, "POST", chatPath, strings.Replace(unbounded, "llama", "another", 1), "x-user-id: "+user, "x-act: "+act)
	}
	for range 4 {
		of("eve", "tokens=1400")
	}
	// Of the budget's burst 304 tokens are left: enough for what is expected of a stranger, not for what eve taught.
	if a := of("stranger", "tokens=7"); a.status != 200 {
		t.Errorf("a stranger at the upstream got %d, %s", a.status, a.reason())
	}
}
