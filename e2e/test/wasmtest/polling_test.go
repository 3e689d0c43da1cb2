package wasmtest

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/wasmhost"
)

const adminToken = "of the operator's"

// surfaceOf is a configuration with an admin surface, whatever else it has.
func surfaceOf(read, config string) string {
	return fmt.Sprintf(`{"admin":{"path":"/spillway","read":%q,"tokens":["sha256:%x"]},`, read, sha256.Sum256([]byte(adminToken))) + strings.TrimPrefix(config, "{")
}

// poll asks for the status, by a token, as one who has the tag of the one before.
func poll(vm *wasmhost.VM, tag string) *wasmhost.Stream {
	return request{method: "GET", path: "/spillway/status", body: "-", headers: [][2]string{{"authorization", "Bearer " + adminToken}, {"if-none-match", tag}}}.send(vm)
}

// What everybody who polls the status costs, until it is another one a second later: two calls to the host (its headers, the answer), no look
// at what the workers share, and no memory. Who has it already is sent no body.
func TestAPollCostsNextToNothing(t *testing.T) {
	const calls, polls = 2, 200
	p := newProxyOf(t, trapFilter, stopIteration)
	vm := p.worker(surfaceOf("token", gatesOf("breaker", "latency", "throttle")))
	askJSON(p, vm)
	vm.Tick()
	first := poll(vm, "")
	tag, size := header(first.ClientHeaders, "etag"), len(first.ClientBody)
	if first.ClientStatus != "200" || tag == "" || size == 0 {
		t.Fatal(first.ClientStatus, first.ClientHeaders)
	}
	for name, c := range map[string]struct {
		tag, status string
		size        int
	}{"all of it": {"", "200", size}, "unchanged": {tag, "304", 0}, "unchanged, of a list": {`"x", W/` + tag, "304", 0}} {
		t.Run(name, func(t *testing.T) {
			for range 10 {
				poll(vm, c.tag)
			}
			p.ResetCalls()
			before := mallocs(t, vm)
			for range polls {
				s := poll(vm, c.tag)
				if s.ClientStatus != c.status || len(s.ClientBody) != c.size {
					t.Fatalf("%s with %d bytes", s.ClientStatus, len(s.ClientBody))
				}
			}
			if n := mallocs(t, vm) - before; n > 0 {
				t.Errorf("%d polls allocate %d times", polls, n)
			}
			if made := proxyCalls(p); made.total != polls*calls || strings.Contains(made.text, "shared_data") {
				t.Errorf("%d polls take %d calls, want %d each:\n%s", polls, made.total, calls, made.text)
			}
		})
	}
}
