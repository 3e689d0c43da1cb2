package securitytest

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

// overshoot: short answers are taught first, then 300 requests come at once, whose answers are long.
func (g *limited) overshoot(t *testing.T) {
	for i, test := range []struct {
		admission string
		quantity  int
		teachers  int // beside the one who attacks
		most      int // requests that reach the server, as docs/security.md has it
	}{
		{"lenient", 300, 0, 2},
		{"strict", 300, 0, 1},
		{"lenient", 10_000, 0, 9}, // so far three subjects were heard
		{"lenient", 300, 12, 2},
		{"strict", 1000, 12, 2},
		{"lenient", 10_000, 12, 15},
	} {
		t.Run(fmt.Sprintf("%s, %d, %d teachers", test.admission, test.quantity, test.teachers), func(t *testing.T) {
			g.configure(t, fmt.Sprintf(`{"limits":[{"name":"o%d","per":["user"],"unit":"completionTokens","quantity":%d,"window":"24h","admission":%q}]}`,
				i, test.quantity, test.admission))
			user := fmt.Sprintf("mallory%d", i)
			for n := range test.teachers {
				for range 4 { // both workers hear of it
					g.act(t, fmt.Sprintf("made-up%d", n), "tokens=7")
				}
			}
			for range 2 {
				g.act(t, user, "tokens=7")
			}
			before := g.server.count(g.server.reached, user)
			if n := g.burst(t, user, 300, 4000) - before; n > test.most || n == 0 {
				t.Errorf("%d requests of 300 reached the server at once, want %d at most", n, test.most)
			}
		})
	}
	t.Run("a heavy user is not stopped", func(t *testing.T) {
		g.configure(t, `{"limits":[{"name":"heavy","per":["user"],"unit":"completionTokens","quantity":100000,"window":"1h"}]}`)
		for n := range 10 {
			for range 8 {
				g.act(t, fmt.Sprintf("usual%d", n), "tokens=300")
			}
		}
		if n := g.burst(t, "heavy", 20, 300); n != 20 {
			t.Errorf("%d of 20 requests reached the server at once", n)
		}
	})
}

// burst sends so many requests of a user at once, and says how many are at the server when all the others are refused.
func (g *limited) burst(t *testing.T, user string, requests, tokens int) (reached int) {
	t.Helper()
	var all sync.WaitGroup
	var refused atomic.Int64
	for range requests {
		all.Go(func() {
			if a := g.act(t, user, fmt.Sprintf("hold tokens=%d", tokens)); a.status == 429 {
				refused.Add(1)
			}
		})
	}
	before := g.server.count(g.server.reached, user)
	harness.Await(t, patience, "each request is at the server or refused", func() bool {
		reached = g.server.count(g.server.reached, user)
		return reached-before+int(refused.Load()) >= requests || reached+int(refused.Load()) >= requests
	})
	reached = g.server.count(g.server.reached, user)
	g.server.release()
	all.Wait()
	return reached
}
