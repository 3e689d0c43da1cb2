package admit

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

const fleetLimit = `"limits":[{"name":"u","per":["user"],"unit":"completionTokens","quantity":300,"window":"1h","scope":"fleet"}]`

// fleetService stands in for the fleet's service, with one counter of what was leased, and what of that by this proxy, one of what was given back, and one of the proxy's calls.
type fleetService struct {
	t                        *testing.T
	count, own, given, beats int
	each                     bool // it has those for each that is asked for
	all                      map[string]*int
}

var hits = regexp.MustCompile(`"entries":\[(.*?)\],"hitsAddend":"(\d+)"`)

// most is the limit that the service is told: it counts, and the proxies decide.
const most = 4294967295

// answer answers what was asked last.
func (f *fleetService) answer(h *host) {
	f.t.Helper()
	var statuses []string
	for _, ask := range hits.FindAllStringSubmatch(h.calls[len(h.calls)-1], -1) {
		n, _ := strconv.Atoi(ask[2])
		counter := f.counter(ask[1])
		*counter += n
		statuses = append(statuses, fmt.Sprintf(`{"code":"OK","currentLimit":{"requestsPerUnit":%d,"unit":"HOUR"},"limitRemaining":%d,"durationUntilReset":"1800s"}`, most, most-*counter))
	}
	h.fleetAnswered(200, `{"overallCode":"OK","statuses":[`+strings.Join(statuses, ",")+`]}`)
}

func (f *fleetService) counter(entries string) *int {
	switch {
	case strings.Contains(entries, `"back"`):
		return &f.given
	case !strings.Contains(entries, "subject"):
		return &f.beats
	case f.each:
		if f.all == nil {
			f.all = map[string]*int{}
		}
		if f.all[entries] == nil {
			f.all[entries] = new(int)
		}
		return f.all[entries]
	case strings.Contains(entries, "proxy"):
		return &f.own
	}
	return &f.count
}

func (h *host) fleetAnswered(status int, body string) {
	h.FleetAnswered(h.now, status, []byte(body))
	h.drain(nil)
}

func newFleetHost(t *testing.T, hold, more string) (*host, *fleetService) {
	t.Helper()
	return newHost(t, `{"requestHold":"`+hold+`",`+more+fleetLimit+`}`, recordtest.NewMemory()), &fleetService{t: t}
}

// The first request waits for a lease; while there is one, none does, and none costs a call.
func TestOneWaitsForALeaseAndTheOthersDoNot(t *testing.T) {
	for _, hold := range []string{"stopIteration", "bufferFilter", "none"} {
		t.Run(hold, func(t *testing.T) {
			h, service := newFleetHost(t, hold, "")
			x := h.ask("ann")
			expect(t, "the first one", x.last.Action, Hold)
			expect(t, "calls", len(h.calls), 1)
			if call := h.calls[0]; !strings.HasPrefix(call, `{"domain":"llm","descriptors":[{"entries":[{"key":"limit","value":"u"},{"key":"subject","value":"`) || strings.Contains(call, "ann") {
				t.Error(call)
			}
			h.now += 5 * millisecond
			expect(t, "let go without an answer", len(h.tick()), 0)
			service.answer(h)
			expect(t, "tick period", h.TickPeriod(), 1)
			action, found := h.tick()[&x.Stream]
			expect(t, "let go", found && action == Continue, true)
			x.answer(used(26, 10))
			for range 3 {
				y := h.ask("ann")
				expect(t, "a later one", y.last.Action, Continue)
				y.answer(used(26, 5))
			}
			expect(t, "calls", len(h.calls), 2) // the second one in the background, when half of the lease was left
			service.answer(h)
			expect(t, "counted", h.requests(), 4)
			h.tick()
			h.idle()
		})
	}
}

// What is used up is refused until the window ends.
func TestAFleetsLimitThatIsUsedUp(t *testing.T) {
	h, service := newFleetHost(t, "stopIteration", "")
	service.count = 300
	x := h.ask("ann")
	service.answer(h) // what was added is refused
	h.tick()
	service.answer(h) // and nothing is left
	h.tick()
	expect(t, "refused", x.Refused(), true)
	expect(t, "reason", header(x.Reply().Headers, "x-spillway-reason"), "limits/tokens_exceeded")
	expect(t, "retry-after", header(x.Reply().Headers, "retry-after"), "1799")
	x.done()
	calls := len(h.calls)
	for range 10 {
		y := h.ask("ann")
		expect(t, "refused at once", y.last.Action, Answer)
		y.done()
	}
	expect(t, "calls", len(h.calls), calls)
	h.idle()
}

// Who has waited as long as fleet.timeout says waits no longer; nor do others while the call is late, or has failed.
func TestNobodyWaitsForAFleetThatIsGone(t *testing.T) {
	for onDown, want := range map[string]string{"local": "", "pass": "", "refuse": "limits/fleet_unavailable"} {
		t.Run(onDown, func(t *testing.T) {
			h, _ := newFleetHost(t, "stopIteration", `"fleet":{"onDown":"`+onDown+`"},`)
			x := h.ask("ann")
			h.now += 100*millisecond - 1
			expect(t, "too early", len(h.tick()), 0)
			h.now += 2
			_, found := h.tick()[&x.Stream]
			expect(t, "in time", found, true)
			expect(t, "reason", h.others[&x.Stream], want)
			if want != "" {
				expect(t, "retry-after", header(x.Reply().Headers, "retry-after"), "1")
				x.done()
			} else {
				x.answer(used(26, 10))
			}
			y := h.ask("bob")
			expect(t, "another one waits", y.last.Action == Hold, false)
			y.done()
			h.fleetAnswered(0, "")
			h.fleetAnswered(0, "")
			expect(t, "said", len(h.notes), 1)
			expect(t, "down", h.gauges["spillway_fleet_down"], 1)
			z := h.ask("eve")
			expect(t, "a third one waits", z.last.Action == Hold, false)
			z.done()
			h.now += 300 * millisecond
			h.tick()
			(&fleetService{t: t}).answer(h)
			expect(t, "said", len(h.notes), 2)
			expect(t, "down", h.gauges["spillway_fleet_down"], 0)
			h.tick()
			expect(t, "waiting", h.leasing.awaiting.count, 0)
		})
	}
}

// A client that leaves while its request waits takes nothing along.
func TestAClientLeavesWhileItWaitsForALease(t *testing.T) {
	h, service := newFleetHost(t, "stopIteration", "")
	x := h.ask("ann")
	x.done()
	expect(t, "waiting", h.leasing.awaiting.count, 0)
	service.answer(h)
	expect(t, "let go", len(h.tick()), 0)
	y := h.ask("ann")
	expect(t, "the next one", y.last.Action, Continue)
	y.answer(used(26, 10))
	service.answer(h)
	h.tick()
	h.idle()
}

// A request that is decided at its headers is held there, and what comes of its body meanwhile, too.
func TestABodyComesWhileItWaitsForALease(t *testing.T) {
	for _, hold := range []string{"stopIteration", "none"} {
		h := newHost(t, `{"requestHold":"`+hold+`",`+strings.Replace(fleetLimit, "completionTokens", "requests", 1)+`}`, recordtest.NewMemory())
		service := &fleetService{t: t}
		x := h.start("ann", false)
		expect(t, "headers", x.last.Action, Hold)
		if hold == "stopIteration" {
			expect(t, "a piece", x.body(chatBody[:10], false).Action, Hold)
		}
		service.answer(h)
		h.tick()
		expect(t, "waiting", h.leasing.awaiting.count, 0)
		x.body(chatBody[10:], true)
		x.answer(used(26, 10))
		expect(t, "counted", h.requests(), 1)
		h.idle()
	}
}

// A fault while a request waits: it passes, and nobody waits for it.
func TestAFaultWhileARequestWaitsForALease(t *testing.T) {
	h, service := newFleetHost(t, "stopIteration", "")
	x := h.ask("ann")
	h.Fault(&x.Stream)
	expect(t, "waiting", h.leasing.awaiting.count, 0)
	service.answer(h)
	expect(t, "let go", len(h.tick()), 0)
	x.done()
}

// In shadow mode nobody waits, and everybody is counted.
func TestAFleetsLimitInShadowMode(t *testing.T) {
	h, service := newFleetHost(t, "stopIteration", `"mode":"shadow",`)
	for range 12 {
		x := h.ask("ann")
		expect(t, "passes", x.last.Action, Continue)
		x.answer(used(26, 76))
		if len(h.calls) > 0 && h.leasing.client.Busy() {
			service.answer(h)
		}
		h.now += second
		h.tick()
	}
	if h.counts["requests SHADOW limits NORMAL other u"] == 0 {
		t.Errorf("nothing would have been refused: %v", h.counts)
	}
}

// A crowd of made-up subjects costs few calls, and those beyond the bound don't wait.
func TestACrowdOfSubjectsOfAFleet(t *testing.T) {
	h, service := newFleetHost(t, "stopIteration", "")
	service.each = true
	const crowd = 1000
	var held []*exchange
	for i := range crowd {
		if x := h.ask("user-" + strconv.Itoa(i) + "\"\n:|"); x.last.Action == Hold {
			held = append(held, x)
		} else {
			x.done()
		}
	}
	expect(t, "waiting", len(held), 256)
	for i := 0; h.leasing.client.Busy(); i++ {
		service.answer(h)
		h.now += 5 * millisecond
		h.tick()
	}
	if n := len(h.calls); n > crowd/64+8 {
		t.Errorf("%d calls for %d subjects", n, crowd)
	}
	for range 20 {
		h.now += clock.Moment(10 * millisecond)
		h.tick()
	}
	expect(t, "waiting", h.leasing.awaiting.count, 0)
}
