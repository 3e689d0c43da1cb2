package admit

import (
	"fmt"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

// nearly are limits of two requests, the second of which goes elsewhere.
const nearly = `"limits":[{"name":"u","per":["user"],"unit":"requests","quantity":3,"window":"1h","nearly":{"at":0.6,"requestHeader":{"x-budget":"low"},"responseHeader":true}}]`

func TestNearlySpent(t *testing.T) {
	t.Parallel()
	h := newHostOf(t, "stopIteration", nearly)
	x := h.ask("ann")
	if x.last.Reroute || header(x.last.Asked, "x-budget") != "" {
		t.Errorf("the first is sent elsewhere: %+v", x.last)
	}
	expect(t, "nobody is told", header(x.status("200", "application/json", false).Headers, "x-spillway-nearly"), "")
	x.response(used(1, 1), true)
	x.done()
	x = h.start("ann", false) // a limit of requests is decided at the headers
	expect(t, "the header", header(x.last.Asked, "x-budget"), "low")
	expect(t, "the route is chosen again", x.last.Reroute, true)
	x.body(chatBody, true)
	expect(t, "once", x.last.Reroute, false)
	expect(t, "the client is told", header(x.status("200", "application/json", false).Headers, "x-spillway-nearly"), "u")
	x.response(used(1, 1), true)
	x.done()
	d := x.decided()
	expect(t, "the decision", fmt.Sprint(d["decision"], d["gate"], d["reason"], d["limit"]), "ALLOWEDlimitsnearly_spentu")
	expect(t, "counted", h.counts["spillway_nearly_total u routed"], 1)
	x = h.ask("ann")
	expect(t, "with an error of the server's, too", header(x.status("500", "application/json", true).Headers, "x-spillway-nearly"), "u")
	x.done()
	expect(t, "then it refuses", h.ask("ann").Refused(), true)
	h.idle()
}

func TestNearlyCantBeForged(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"enforce", "shadow", "off"} {
		h := newHost(t, `{"mode":"`+mode+`","requestHold":"stopIteration",`+nearly+`}`, recordtest.NewMemory())
		for i, sent := range [][][2]string{{{"x-budget", "low"}}, {{"x-budget", ""}}, {{"x-budget", "a"}, {"x-budget", "low"}}} {
			x := h.start(fmt.Sprint("bob", i), true, sent...)
			asked := fmt.Sprint(x.last.Asked)
			if !x.last.Reroute || !strings.Contains(asked, "[x-budget ]") || strings.Contains(asked, "low") {
				t.Errorf("mode %s: of %v %s goes on, chosen again: %t", mode, sent, asked, x.last.Reroute)
			}
			x.done()
			if mode != "enforce" {
				continue
			}
			other := h.startWith(append([][2]string{{":method", "GET"}, {":path", "/v1/models"}, {"x-user-id", fmt.Sprint("carol", i)}}, sent...), true)
			expect(t, "on another path", header(other.last.Asked, "x-budget") == "" && other.last.Reroute, true)
			other.done()
		}
	}
	h := newHostOf(t, "stopIteration", nearly)
	h.ask("ann")
	x := h.start("ann", true, [2]string{"x-budget", "high"})
	expect(t, "what is set comes after what is taken out", fmt.Sprint(x.last.Asked[len(x.last.Asked)-1]), "[x-budget low]")
	if h.start("sue", true).last.Reroute {
		t.Error("without the header the route is chosen again")
	}
}

func TestNearlyOfSeveral(t *testing.T) {
	t.Parallel()
	h := newHostOf(t, "stopIteration", `"limits":[
		{"name":"a","unit":"requests","quantity":9,"window":"1h","nearly":{"at":0.1,"requestHeader":{"x-budget":"team","x-a":"1"},"responseHeader":true}},
		{"name":"quiet","unit":"requests","quantity":9,"window":"1h","nearly":{"at":0.1,"requestHeader":{"x-quiet":"1"}}},
		{"name":"trial","unit":"requests","quantity":9,"window":"1h","mode":"shadow","nearly":{"at":0.1,"requestHeader":{"x-trial":"1"},"responseHeader":true}},
		{"name":"only","unit":"requests","quantity":9,"window":"1h","nearly":{"at":0.1,"responseHeader":true}},
		{"name":"b","unit":"requests","quantity":9,"window":"1h","nearly":{"at":0.1,"requestHeader":{"x-budget":"mine"}}}]`)
	x := h.start("ann", true)
	var last []string
	for _, name := range []string{"x-budget", "x-a", "x-quiet", "x-trial"} {
		value := "-"
		for _, set := range x.last.Asked {
			if set[0] == name {
				value = set[1]
			}
		}
		last = append(last, value)
	}
	expect(t, "the headers", strings.Join(last, " "), "team 1 1 -")
	expect(t, "told", header(x.status("200", "application/json", true).Headers, "x-spillway-nearly"), "a, only")
	for name, result := range map[string]string{"a": "routed", "quiet": "routed", "trial": "shadow", "only": "noted", "b": "routed"} {
		expect(t, name, h.counts["spillway_nearly_total "+name+" "+result], 1)
	}
}

// A limit of tokens is decided by the body: where the headers can be held until then they can be set, else it is too late.
func TestNearlyAtTheBody(t *testing.T) {
	t.Parallel()
	const tokens = `"limits":[{"name":"u","per":["user"],"match":{"models":["mock"]},"unit":"totalTokens","quantity":1000000,"window":"1h","nearly":{"at":0.00001,"requestHeader":{"x-budget":"low"},"responseHeader":true}}]`
	for hold, want := range map[string]string{"stopIteration": "low routed", "bufferFilter": " late", "none": " late"} {
		h := newHostOf(t, hold, tokens)
		x := h.ask("ann")
		result := "routed"
		if h.counts["spillway_nearly_total u late"] == 1 {
			result = "late"
		}
		expect(t, hold, header(x.last.Asked, "x-budget")+" "+result, want)
		expect(t, "chosen again", x.last.Reroute, result == "routed")
		expect(t, "told", header(x.status("200", "application/json", false).Headers, "x-spillway-nearly"), "u")
		x.response(used(1, 1), true)
		x.done()
		h.idle()
	}
}

// Run-time changes hold for the next request; an operator sees who is near.
func TestNearlyIsSeenAndChanged(t *testing.T) {
	t.Parallel()
	h := newHost(t, `{"requestHold":"stopIteration","admin":{"path":"/spillway"},`+nearly+`}`, recordtest.NewMemory())
	h.ask("ann").answer(used(1, 1))
	h.ask("ann").answer(used(1, 1))
	_, body := h.get(t, "/spillway/status")
	expect(t, "status", fmt.Sprint(body["limits"].([]any)[0].(map[string]any)["nearlyAt"]), "0.6")
	_, subject := h.get(t, "/spillway/limits/u?subject=ann")
	expect(t, "the subject", fmt.Sprint(subject["nearly"]), "true")
	_, subject = h.get(t, "/spillway/limits/u?subject=bob")
	expect(t, "another one", fmt.Sprint(subject["nearly"]), "false")
}

// In the second leg of a request what the first has set is no client's word.
func TestNearlyInAnotherLeg(t *testing.T) {
	t.Parallel()
	h := newHostOf(t, "stopIteration", strings.Replace(nearly, `"quantity":3`, `"quantity":1`, 1))
	x := h.start("ann", true)
	expect(t, "the first leg", header(x.last.Asked, "x-budget"), "low")
	x = x.redirected([2]string{"x-budget", "low"})
	expect(t, "the second leg", fmt.Sprint(x.last.Asked[len(x.last.Asked)-1], x.last.Reroute, x.Refused()), "[x-budget low] true false")
}
