package securitytest

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

// Nobody uses more than his limit by a burst, by hanging up or by failing, nor makes others' limits useless by what he teaches.
func TestLimitsCannotBeWalkedAround(t *testing.T) {
	t.Parallel()
	server := newActor(t)
	g := &limited{start(t, harness.Options{Concurrency: 2, Config: `{}`}, server), server}
	t.Run("overshoot", g.overshoot)
	t.Run("never", g.never)
	t.Run("free work", g.freeWork)
}

// limited is a gateway before a server that does as it is told.
type limited struct {
	*gateway
	server *actor
}

// unbounded is a chat that says nothing of how long its answer may be.
const unbounded = `{"model":"llama","messages":[{"role":"user","content":"hello"}]}`

// actor is a server that does what the header x-act of a request says: "tokens=7", "status=429", "hold tokens=7" (when all may
// go on), "hang", "stream" (which begins, and hangs).
type actor struct {
	mu      sync.Mutex
	reached map[string]int // by user
	gone    map[string]int // of those, clients that left
	gate    chan struct{}
	closed  chan struct{}
}

func newActor(t *testing.T) *actor {
	a := &actor{reached: map[string]int{}, gone: map[string]int{}, gate: make(chan struct{}), closed: make(chan struct{})}
	t.Cleanup(func() { close(a.closed) })
	return a
}

// release lets those go on that are held.
func (a *actor) release() {
	a.mu.Lock()
	defer a.mu.Unlock()
	close(a.gate)
	a.gate = make(chan struct{})
}

func (a *actor) count(of map[string]int, user string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return of[user]
}

func (a *actor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	user := r.Header.Get("x-user-id")
	a.mu.Lock()
	a.reached[user]++
	gate := a.gate
	a.mu.Unlock()
	wait := func(on <-chan struct{}) {
		select {
		case <-on:
		case <-r.Context().Done():
			a.mu.Lock()
			a.gone[user]++
			a.mu.Unlock()
		case <-a.closed:
		}
	}
	tokens := 76
	for _, act := range strings.Fields(r.Header.Get("x-act")) {
		name, value, _ := strings.Cut(act, "=")
		n := 0
		_, _ = fmt.Sscan(value, &n)
		switch name {
		case "tokens":
			tokens = n
		case "status":
			w.Header().Set("content-type", "application/json")
			w.WriteHeader(n)
			_, _ = io.WriteString(w, `{"error":{"message":"no"}}`)
			return
		case "reset":
			panic(http.ErrAbortHandler)
		case "hold":
			wait(gate)
		case "hang":
			wait(nil)
			return
		case "stream":
			w.Header().Set("content-type", "text/event-stream")
			_, _ = io.WriteString(w, `data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}`+"\n\n")
			w.(http.Flusher).Flush()
			wait(nil)
			return
		}
	}
	completes(tokens).ServeHTTP(w, r)
}

// act sends a chat of a user that the server treats as told.
func (g *limited) act(t *testing.T, user, act string, headers ...string) answer {
	t.Helper()
	return g.send(t, "POST", chatPath, unbounded, append(headers, "x-user-id: "+user, "x-act: "+act)...)
}
