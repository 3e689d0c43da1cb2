package admit

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

// change has the engine go on by another configuration.
func (h *host) change(configuration string) {
	h.Helper()
	cfg, err := config.Parse([]byte(configuration))
	if err != nil {
		h.Fatal(err)
	}
	h.cfg = cfg
	h.Change(&cfg)
	h.drain(nil)
}

const (
	someSlots  = `{"requestHold":"stopIteration","upstreams":[{"name":"llm","concurrency":{"max":%d},"queue":{"max":9}}]}`
	quantityOf = `{"limits":[{"name":"u","per":["user"],"unit":"completionTokens","quantity":%d,"window":"1h"}]}`
)

func TestWhatWaitsGoesByTheLatestRules(t *testing.T) {
	h := newHost(t, fmt.Sprintf(someSlots, 1), recordtest.NewMemory())
	first := h.chatOf("alice", "normal")
	low, normal, urgent := h.chatOf("bob", "low"), h.chatOf("carol", "normal"), h.chatOf("dan", "urgent")
	h.change(fmt.Sprintf(someSlots, 3))
	expect(t, "let go by the next tick", fmt.Sprint(h.tick()), fmt.Sprint(map[*Stream]EffectKind{&urgent.Stream: Continue, &normal.Stream: Continue}))
	expect(t, "the low one waits", low.Waiting(), true)
	h.change(fmt.Sprintf(someSlots, 1))
	first.answer(used(9, 40))
	urgent.answer(used(9, 40))
	h.tick()
	expect(t, "one is in flight, as many as there may be", low.Waiting(), true)
	normal.answer(used(9, 40))
	h.tick()
	expect(t, "the low one goes", low.Waiting(), false)
	low.answer(used(9, 40))
	h.tick()
	expect(t, "in flight", h.gauges["inflight llm"], 0)
	h.idle()
}

func TestModeOffLetsGoWhatWaits(t *testing.T) {
	h := newHost(t, fmt.Sprintf(someSlots, 1), recordtest.NewMemory())
	first, second := h.chatOf("alice", "normal"), h.chatOf("bob", "normal")
	h.change(`{"mode":"off","requestHold":"stopIteration","upstreams":[{"name":"llm","concurrency":{"max":1}}]}`)
	expect(t, "let go", fmt.Sprint(h.tick()), fmt.Sprint(map[*Stream]EffectKind{&second.Stream: Continue}))
	h.change(fmt.Sprintf(someSlots, 2))
	third := h.chatOf("carol", "normal")
	expect(t, "those in flight have the slots", third.Waiting(), true)
	first.answer(used(9, 40))
	second.answer(used(9, 40))
	expect(t, "the third goes", third.Waiting(), false)
	third.answer(used(9, 40))
	h.tick()
	expect(t, "in flight", h.gauges["inflight llm"], 0)
	h.idle()
}

func TestABalanceStaysWhileTheQuantityChanges(t *testing.T) {
	h := newHost(t, fmt.Sprintf(quantityOf, 300), recordtest.NewMemory())
	x := h.ask("alice")
	h.change(fmt.Sprintf(quantityOf, 500))
	expect(t, "what is reserved counts", h.balance("alice"), 500-256)
	x.answer(used(9, 450))
	expect(t, "what was used counts", h.balance("alice"), 50)
	h.change(fmt.Sprintf(quantityOf, 300))
	expect(t, "debt", h.balance("alice"), -150)
	expect(t, "is refused", h.ask("alice").Refused(), true)
	h.change(fmt.Sprintf(quantityOf, 1000))
	passes := h.ask("alice")
	expect(t, "passes at once", passes.Refused(), false)
	passes.done()
	h.idle()
}

func TestAGateThatGoesAndComesBackKnowsItsRequests(t *testing.T) {
	const gates = `{"requestHold":"stopIteration","upstreams":[{"name":"llm","breaker":{"mode":"%s","minRequests":1},"latency":{"mode":"%s"},"throttle":{"mode":"%s"}}]}`
	modes := []string{"enforce", "shadow", "off"}
	h := newHost(t, fmt.Sprintf(gates, "enforce", "enforce", "enforce"), recordtest.NewMemory())
	for i := range 27 {
		x := h.ask("alice")
		h.change(fmt.Sprintf(gates, modes[i%3], modes[i/3%3], modes[i/9]))
		if !x.Refused() {
			x.answer(used(9, 40))
		}
		h.now += second
		h.tick()
	}
	if n := h.counts["errors store"] + h.counts["errors record_damaged"]; n != 0 {
		t.Error(h.counts)
	}
}

func TestRulesAreForgottenWithTheirLastStream(t *testing.T) {
	h := newHost(t, fmt.Sprintf(quantityOf, 300), recordtest.NewMemory())
	var open []*exchange
	for i := range mostRules {
		open = append(open, h.ask(strconv.Itoa(i)))
		expect(t, "there is room for more", h.Crowded(), false)
		h.change(fmt.Sprintf(quantityOf, 301+i))
	}
	expect(t, "there is not", h.Crowded(), true)
	open[7].answer(used(9, 40))
	expect(t, "there is again", h.Crowded(), false)
	for _, x := range open {
		x.done()
		x.done() // as after a fault
	}
	h.Crowded()
	expect(t, "rules of earlier configurations", len(h.past), 0)
	h.idle()
}

// TestTenThousandRequestsWhileTheRulesChange: with another configuration every 100 ms in either of two workers, not at the same moment, each
// request is decided by the one in force when it came, is counted once, and none has more slots or places than there are.
func TestTenThousandRequestsWhileTheRulesChange(t *testing.T) {
	const configuration = `{"requestHold":"stopIteration","statusCode":{"limits":%d},"identity":{"user":{"headers":["%s"]}},
		"limits":[{"name":"n","per":["user"],"unit":"inflight","quantity":%d},{"name":"u","per":["user"],"unit":"totalTokens","quantity":1000000,"window":"1h"}],
		"upstreams":[{"name":"llm","concurrency":{"max":%d},"queue":{"max":%d,"maxWait":{"normal":"1s"}},"breaker":{"mode":"shadow"}}]}`
	const most = 8
	store := &watched{Memory: recordtest.NewMemory(), keys: map[string]bool{}}
	draw := rand.New(rand.NewPCG(1, 2))
	variant := func(i int) string {
		return fmt.Sprintf(configuration, 429+i%3, []string{"x-user-id", "x-name"}[i%2], 2+i%2, 1+i%most, i%5)
	}
	workers := []*host{newHost(t, variant(0), store), newHost(t, variant(0), store)}
	var err error
	if workers[1].Engine, err = New(&workers[1].cfg, &workers[1].proxy, new(Worker), []byte("another worker's")); err != nil {
		t.Fatal(err)
	}
	open := [2][]*exchange{}
	changes := [2]int{}
	sent := int64(0)
	for sent < 10_000 {
		i := draw.IntN(2)
		h := workers[i]
		for _, w := range workers {
			w.now += 3 * millisecond
		}
		if due := int(h.now.Sub(start)) / (100 * millisecond); due > changes[i] {
			changes[i] = due
			h.change(variant(due))
		}
		switch pick := draw.IntN(4); {
		case pick < 2 && len(open[i]) < 30:
			user := "user" + strconv.Itoa(draw.IntN(6))
			x := h.start(user, false, [2]string{"x-name", user})
			x.body(chatBody, true)
			sent++
			if x.Refused() && x.decision.Limit != nil {
				expect(t, "its status is that of the rules", x.Reply().Status, h.cfg.StatusCode.Limits)
			}
			open[i] = append(open[i], x)
		case pick == 2 && len(open[i]) > 0:
			at := draw.IntN(len(open[i]))
			x := open[i][at]
			if x.ticket.InFlight() && draw.IntN(4) > 0 {
				x.answer(used(9, 40))
			} else {
				x.done()
			}
			open[i] = append(open[i][:at], open[i][at+1:]...)
		default:
			h.tick()
		}
		inFlight := 0
		for _, list := range open {
			for _, x := range list {
				if x.ticket.InFlight() {
					inFlight++
				}
			}
		}
		if inFlight > most {
			t.Fatalf("%d in flight", inFlight)
		}
	}
	for i := range open {
		for _, x := range open[i] {
			x.done()
		}
	}
	counted := int64(0)
	for _, h := range workers {
		h.now += clock.Moment(second)
		h.tick()
		expect(t, "in flight", h.gauges["inflight llm"], 0)
		h.idleBut(second)
		h.Crowded()
		expect(t, "rules of earlier configurations", len(h.past), 0)
		counted += h.requests()
	}
	expect(t, "counted", counted, sent)
	if reserved := store.reserved(); reserved != "" {
		t.Error(reserved)
	}
}

// idleBut checks that nothing is held; ticks may come as seldom as period.
func (h *host) idleBut(period uint32) {
	h.Helper()
	if h.guard.holding.count > 0 || h.reserving.count > 0 || h.TickPeriod() != 0 && h.TickPeriod() < period/millisecond {
		h.Errorf("%d held, %d reserving, tick period %d", h.guard.holding.count, h.reserving.count, h.TickPeriod())
	}
}
