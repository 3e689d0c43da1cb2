package admit

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

// What an operator sees of a limit of the fleet, on the gateway and on an admin listener, and what can't be changed there.
func TestAFleetsLimitIsShownAndNotChanged(t *testing.T) {
	store := recordtest.NewMemory()
	configuration := `{"requestHold":"stopIteration",` + adminConfig("open") + `,` + fleetLimit + `}`
	h := workerOf(t, configuration, store, 1)
	service := &fleetService{t: t, count: 100}
	x := h.ask("ann")
	service.answer(h)
	h.tick()
	x.answer(used(9, 40))
	for _, asked := range []*host{h, workerOf(t, listener(), store, 3)} {
		status, answer := asked.send("GET", "/limits/u?subject=ann", "")
		var v struct {
			Used, Reserved, Remaining int
			Lease                     struct{ Taken, Left, FleetCounted int }
		}
		if err := json.Unmarshal([]byte(answer), &v); err != nil || status != 200 {
			t.Fatal(err, status, answer)
		}
		if l := v.Lease; l.Taken == 0 || l.Left != l.Taken-40 || l.FleetCounted != 100+l.Taken || v.Used != 140 || v.Remaining != 160 {
			t.Errorf("%s", answer)
		}
		if status, answer = asked.send("POST", "/limits/u/subjects/ann", `{"reset":true}`); status != 409 {
			t.Errorf("a reset: %d %s", status, answer)
		}
		asked.now += 2 * second
		if _, answer = asked.send("GET", "/status", ""); !strings.Contains(answer, `"scope":"fleet"`) || !strings.Contains(answer, `"fleet":{"state":"ANSWERS"}`) {
			t.Error(answer)
		}
	}
	if status, answer := h.send("PATCH", "/overrides", `{"limits":{"u":{"scope":"proxy"}}}`); status != 422 || !strings.Contains(answer, "says where it is counted") {
		t.Errorf("another scope: %d %s", status, answer)
	}
	if status, answer := h.send("PATCH", "/overrides", `{"limits":{"u":{"quantity":200}},"fleet":{"onDown":"refuse"}}`); status != 200 {
		t.Errorf("a quantity: %d %s", status, answer)
	}
	if h.leasing.client.Busy() {
		h.fleetAnswered(0, "")
	}
	h.now += second
	y := h.ask("bob")
	if call := h.calls[len(h.calls)-1]; !strings.Contains(call, `"hitsAddend":"50"`) {
		t.Error(call)
	}
	y.done()
	h.fleetAnswered(0, "")
	h.now += 2 * second
	if _, answer := h.send("GET", "/status", ""); !strings.Contains(answer, `"fleet":{"state":"GONE"}`) {
		t.Error(answer)
	}
}

// All proxies name a subject alike, whatever their own hashes are keyed with, and by no more than a hash.
func TestProxiesNameSubjectsAlike(t *testing.T) {
	name := regexp.MustCompile(`"key":"subject","value":"{([0-9a-f]{32})}"`)
	seen := map[string]string{}
	for _, per := range []string{"user", "key", "tenant", "model", "header:x-team"} {
		for _, value := range []string{"a", "b", "ä\"\n|_:", strings.Repeat("x", 10_000)} {
			var names []string
			for _, random := range []string{"0123456789abcdef", "fedcba9876543210"} {
				h := newWorker(t, `{"requestHold":"stopIteration",`+strings.Replace(fleetLimit, `"user"`, `"`+per+`"`, 1)+`}`, recordtest.NewMemory(), []byte(random))
				x := h.start(value, false, [2]string{"authorization", "Bearer " + value}, [2]string{"x-tenant-id", value}, [2]string{"x-team", value})
				x.body(strings.Replace(chatBody, "mock", strings.NewReplacer("\"", "", "\n", "").Replace(value), 1), true)
				if x.Refused() && per == "key" {
					names = append(names, value) // no key has such letters
					continue
				}
				if len(h.calls) != 1 || name.FindStringSubmatch(h.calls[0]) == nil {
					t.Fatalf("%s %.10s: %s", per, value, h.calls)
				}
				names = append(names, name.FindStringSubmatch(h.calls[0])[1])
			}
			if names[0] != names[1] {
				t.Errorf("%s: %.10q has other names in another proxy: %v", per, value, names)
			}
			if other, taken := seen[names[0]]; taken {
				t.Errorf("%s %.10s has the name of %s", per, value, other)
			}
			seen[names[0]] = per + " " + value[:1]
		}
	}
}

// A limit that is raised while it is used up passes more at once, in each worker.
func TestAFleetsLimitThatIsRaised(t *testing.T) {
	store := recordtest.NewMemory()
	h := workerOf(t, `{"requestHold":"stopIteration",`+adminConfig("open")+`,`+fleetLimit+`}`, store, 1)
	service := &fleetService{t: t, count: 100}
	for refused := false; !refused; {
		x := h.ask("ann")
		for x.last.Action == Hold && h.leasing.awaiting.count > 0 {
			service.answer(h)
			h.tick()
		}
		if refused = x.Refused(); refused {
			x.done()
		} else {
			x.answer(used(9, 100))
		}
		if h.leasing.client.Busy() {
			service.answer(h)
			h.tick()
		}
	}
	if status, answer := h.send("PATCH", "/overrides", `{"limits":{"u":{"quantity":900}}}`); status != 200 {
		t.Fatal(status, answer)
	}
	y := h.ask("ann")
	expect(t, "asks again", y.last.Action, Hold)
	service.answer(h)
	action, found := h.tick()[&y.Stream]
	expect(t, "let go", found && action == Continue, true)
	y.done()
}
