package admit

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

// stands asks how a subject of the limit u stands.
func (h *host) stands(name string) (used, reserved, remaining float64, granted string) {
	h.Helper()
	var v struct {
		Used, Reserved, Remaining float64
		Granted                   json.RawMessage
	}
	status, answer := h.send("GET", "/limits/u?subject="+name, "")
	if err := json.Unmarshal([]byte(answer), &v); err != nil || status != 200 {
		h.Fatalf("%v: %d %s", err, status, answer)
	}
	return v.Used, v.Reserved, v.Remaining, string(v.Granted)
}

// uses has a user's request use so many tokens, if it passes.
func (h *host) uses(user string, tokens int) (passes bool) {
	x := h.ask(user)
	if x.Refused() {
		x.done()
		return false
	}
	x.answer(used(9, tokens))
	return true
}

func TestASubjectThatIsResetPassesAtOnce(t *testing.T) {
	for _, where := range []string{"an admin listener", "the gateway"} {
		t.Run(where, func(t *testing.T) {
			store := recordtest.NewMemory()
			first, other := workerOf(t, ofGateway(adminConfig("open")+","), store, 1), workerOf(t, ofGateway(adminConfig("open")+","), store, 2)
			asked := first
			if where == "an admin listener" {
				asked = workerOf(t, listener(), store, 3)
			}
			first.uses("ann", 400)
			first.uses("bob", 400)
			expect(t, "is refused", other.uses("ann", 1), false)
			inFlight := first.ask("carol")
			used, reserved, remaining, granted := asked.stands("ann")
			expect(t, "how she stands", fmt.Sprint(used, reserved, remaining)+granted, "400 0 -100null")
			_, reserved, _, _ = asked.stands("user=carol")
			expect(t, "what is under way", reserved, 100)
			status, answer := asked.send("POST", "/limits/u/subjects/ann", `{"reset":true}`)
			if status != 200 || !strings.Contains(answer, `"remaining":300`) {
				t.Errorf("%d %s", status, answer)
			}
			if logged := strings.Join(asked.infos, "\n"); !strings.Contains(logged, "POST /spillway/limits/u/subjects/ann: 400 used of 300: reset") {
				t.Error(logged)
			}
			inFlight.done()
			expect(t, "passes at once", other.uses("ann", 1), true)
			expect(t, "nobody else does", other.uses("bob", 1), false)
		})
	}
}

func TestAGrantHoldsForItsTimeAndLeavesNoDebt(t *testing.T) {
	for _, action := range []string{`{"grant":500,"for":"1h"}`, `{"quantity":800,"for":"1h"}`, `{"quantity":800,"until":"2020-01-04T01:00:00Z"}`} {
		t.Run(action, func(t *testing.T) {
			store := recordtest.NewMemory()
			h, other := workerOf(t, ofGateway(adminConfig("open")+","), store, 1), workerOf(t, ofGateway(adminConfig("open")+","), store, 2)
			h.uses("ann", 300)
			expect(t, "is refused", other.uses("ann", 1), false)
			status, answer := h.send("POST", "/limits/u/subjects/ann", action)
			if status != 200 || !strings.Contains(answer, `"burst":800`) || !strings.Contains(answer, `"endsInSeconds":3600`) {
				t.Errorf("%d %s", status, answer)
			}
			for _, w := range []*host{h, other} {
				w.now += second
				w.tick()
			}
			expect(t, "here", h.uses("ann", 251), true)
			expect(t, "and there", other.uses("ann", 251), true)
			expect(t, "not beyond it", h.uses("ann", 1), false)
			expect(t, "nobody else", h.uses("bob", 400) && h.uses("bob", 1), false)
			h.change(ofGateway(adminConfig("open") + ","))
			if _, _, remaining, granted := h.stands("ann"); remaining < -10 || granted == "null" {
				t.Errorf("by other rules %v remains, granted %s", remaining, granted)
			}
			for _, w := range []*host{h, other} {
				w.now += clock.Moment(3600 * second)
				w.tick()
			}
			_, _, remaining, granted := h.stands("ann")
			if remaining < 0 || granted != "null" {
				t.Errorf("%v remains, granted %s", remaining, granted)
			}
		})
	}
}

func TestWhoeverIsNotThereIsToldApart(t *testing.T) {
	h := workerOf(t, `{"requestHold":"stopIteration",`+adminConfig("open")+`,"limits":[
		{"name":"k","per":["key"],"unit":"requests","quantity":2,"window":"1h"},{"name":"m","per":["tenant","user","model"],"unit":"requests","quantity":2,"window":"1h"},
		{"name":"all","unit":"requests","quantity":9,"window":"1h"},{"name":"off","mode":"off","unit":"requests","quantity":9,"window":"1h"}]}`, recordtest.NewMemory(), 1)
	x := h.startWith([][2]string{{":method", "POST"}, {":path", "/v1/chat/completions"}, {"content-type", "application/json"},
		{"authorization", "Bearer sk-1"}, {"x-user-id", "ann b"}, {"x-tenant-id", `"><script>`}}, false)
	x.body(`{"model":"GPT","messages":[]}`, true)
	x.answer(used(1, 1))
	for path, want := range map[string]string{
		"/limits/k?subject=sk-1":     `"used":1`,
		"/limits/k?subject=key=sk-1": `"used":1`,
		"/limits/k?subject=sk-2":     `"used":0`,
		"/limits/m?subject=tenant%3D%22%3E%3Cscript%3E+user%3Dann+b+model%3Dgpt": `"used":1`,
		"/limits/m?subject=tenant%3D%22%3E%3Cscript%3E+user%3Dann+model%3Dgpt":   `"used":0`,
		"/limits/m?subject=ann":         `want tenant=... user=... model=...`,
		"/limits/m?subject=user=ann":    `want tenant=... user=... model=...`,
		"/limits/all?subject=everybody": `"used":1`,
		"/limits/off?subject=x":         `there is no limit \"off\" in force`,
		"/limits/%3Cb%3E?subject=x":     `there is no limit \"\u003cb\u003e\" in force`,
	} {
		_, answer := h.send("GET", path, "")
		if !strings.Contains(answer, want) || strings.ContainsAny(answer, "<>") {
			t.Errorf("%s: %s", path, answer)
		}
	}
	for body, want := range map[string]int{`{"reset":false}`: 422, `{"grant":1}`: 422, `{"quantity":1,"until":"2019-01-01T00:00:00Z"}`: 422, `x`: 422, `{"grant":1,"for":"1h"}`: 200} {
		if status, answer := h.send("POST", "/limits/k/subjects/sk%2F1", body); status != want {
			t.Errorf("%s: %d %s", body, status, answer)
		}
	}
}

// Who changes what a key may do has the key in his request: it isn't logged.
func TestTheLogHasNoKeys(t *testing.T) {
	h := workerOf(t, `{`+adminConfig("open")+`,"limits":[{"name":"k","per":["key","user"],"unit":"requests","quantity":1,"window":"1h"}]}`, recordtest.NewMemory(), 1)
	for _, path := range []string{"/limits/k/subjects/key%3Dsk-secret%20user%3Dann", "/limits/k/%73ubjects/key%3Dsk-secret%20user%3Dann?x=/"} {
		if status, answer := h.send("POST", path, `{"reset":true}`); status != 200 {
			t.Errorf("%d %s", status, answer)
		}
	}
	logged := strings.Join(h.infos, "\n")
	expect(t, "changes that are logged", strings.Count(logged, "/limits/k/subjects/***: 0 used of 1: reset"), 2)
	if strings.Contains(logged, "secret") {
		t.Error(logged)
	}
}
