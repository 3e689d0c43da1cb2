package wasmtest

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/wasmhost"
)

// fleetOf is a configuration with a limit of the fleet.
func fleetOf(quantity int, onDown string) string {
	return fmt.Sprintf(`{"requestHold":"stopIteration","fleet":{"onDown":%q},"limits":[
		{"name":"f","per":["user"],"unit":"completionTokens","quantity":%d,"window":"1h","scope":"fleet"}]}`, onDown, quantity)
}

var descriptors = regexp.MustCompile(`"entries":\[(.*?)\],"hitsAddend":"(\d+)"`)

// counts are what the fleet's service has counted, by descriptor. Its limit is the greatest that it knows: the proxies decide.
type counts map[string]int

// grant answers the calls to the fleet's service, and lets the timer run.
func (c counts) grant(t *testing.T, p *proxy, vm *wasmhost.VM) (calls int) {
	t.Helper()
	const most = 1<<32 - 1
	for _, call := range vm.Callouts() {
		if call.Cluster != "ratelimit" || call.Timeout != time.Second {
			t.Errorf("%+v", call)
		}
		var statuses []string
		for _, asked := range descriptors.FindAllStringSubmatch(string(call.Body), -1) {
			hits, _ := strconv.Atoi(asked[2])
			c[asked[1]] += hits
			statuses = append(statuses, fmt.Sprintf(`{"code":"OK", "currentLimit":{"requestsPerUnit":%d, "unit":"HOUR"}, "limitRemaining":%d, "durationUntilReset":"1800s"}`, most, most-c[asked[1]]))
		}
		if statuses == nil {
			t.Fatalf("asked: %s", call.Body)
		}
		body := `{"overallCode":"OK", "statuses":[` + strings.Join(statuses, ",") + `]}`
		if err := vm.AnswerCallout(call, [][2]string{{":status", "200"}}, []byte(body), nil); err != nil {
			t.Error(err)
		}
		calls++
	}
	later(p, vm, 20*time.Millisecond)
	return calls
}

// later lets time pass, and the timer run.
func later(p *proxy, vm *wasmhost.VM, wait time.Duration) {
	p.Advance(wait)
	vm.Tick()
}

// A limit of the fleet costs the host calls of a proxy's own, while there is something left of a lease.
func TestALimitOfTheFleetCostsNoMoreThanAnother(t *testing.T) {
	const quantity = 1_000_000_000
	p, vm := start(t, stopIteration, fleetOf(quantity, "local"))
	s := request{user: "ann"}.send(vm)
	if s.UpstreamEnd || s.ClientStatus != "" {
		t.Fatal("it doesn't wait for a lease")
	}
	if calls := (counts{}).grant(t, p, vm); calls != 1 || !s.UpstreamEnd {
		t.Fatalf("%d calls, let go: %v", calls, s.UpstreamEnd)
	}
	answer(s, completion(76))
	once := callsOf(t, p, func() { askJSON(p, vm) })
	if once.total != 29 {
		t.Errorf("%d host calls, want 29, as of a limit of the proxy's own:\n%s", once.total, once.text)
	}
	if len(vm.Callouts()) > 0 {
		t.Error("it asks again though there is much left")
	}
}

// No answer, one that is late, one that is none, and none by a cluster that there isn't.
func TestAFleetsServiceThatDoesNotAnswer(t *testing.T) {
	p, vm := start(t, stopIteration, fleetOf(300, "refuse"))
	s := request{user: "ann"}.send(vm)
	later(p, vm, 99*time.Millisecond)
	if s.ClientStatus != "" {
		t.Error("refused too early")
	}
	later(p, vm, 30*time.Millisecond)
	if s.ClientStatus != "429" {
		t.Errorf("after fleet.timeout: %q", s.ClientStatus)
	}
	if err := vm.FailCallout(vm.Callouts()[0]); err != nil {
		t.Fatal(err)
	}
	if !p.Logged(wasmhost.LevelWarn, "fleet.onDown, refuse") || p.Gauge("spillway_fleet_down") != 1 {
		t.Error("the log doesn't say it")
	}
	if x := (request{user: "ann"}).send(vm); x.ClientStatus != "429" {
		t.Errorf("while it is gone: %q", x.ClientStatus)
	}
	later(p, vm, time.Second)
	service := counts{}
	service.grant(t, p, vm)
	if p.Gauge("spillway_fleet_down") != 0 {
		t.Error("it is still gone")
	}
	s = request{user: "ann"}.send(vm)
	service.grant(t, p, vm)
	if !s.UpstreamEnd {
		t.Errorf("afterwards: %q", s.ClientStatus)
	}

	options := stopIteration
	options.Clusters = []string{"llm"}
	p, vm = start(t, options, fleetOf(300, "pass"))
	s = request{user: "ann"}.send(vm)
	later(p, vm, 30*time.Millisecond)
	if !s.UpstreamEnd || !p.Logged(wasmhost.LevelWarn, "fleet.onDown, pass") {
		t.Errorf("without the cluster: %q", s.ClientStatus)
	}
}

// Many users at once: few calls, each with many of them.
func TestManyUsersOfAFleet(t *testing.T) {
	p, vm := start(t, stopIteration, fleetOf(300, "local"))
	for i := range 500 {
		request{user: "user-" + strconv.Itoa(i)}.send(vm)
	}
	if calls := vm.Callouts(); len(calls) != 1 {
		t.Fatalf("%d calls at once", len(calls))
	}
	_ = vm.FailCallout(vm.Callouts()[0])
	later(p, vm, time.Second)
	if calls := vm.Callouts(); len(calls) != 1 || strings.Count(string(calls[0].Body), `"}],"hitsAddend"`) != 2*64+1 {
		t.Errorf("%d calls", len(calls))
	}
}
