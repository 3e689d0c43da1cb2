package queuetest

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Who asks not to wait is told at once when to come back, at whatever worker; who asks to wait for a while waits for that. The server sees
// nothing of either, and of those that it does see not what they asked us.
func refuseImpatient(t *testing.T, g *gateway) {
	const willing = 300 * time.Millisecond
	g.holds(t, `{"upstreams": [{"name": "impatient", "concurrency": {"max": 1}}]}`, func(t *testing.T) {
		no, soon := []string{"x-spillway-queue", "no"}, []string{"x-spillway-max-wait", "300"}
		busy := g.occupy(t, ask{headers: no})
		patient := g.enqueue(t, ask{headers: []string{"x-spillway-queue", "yes", "x-spillway-max-wait", "1h"}})
		var refused []*call
		for i := range 8 {
			headers := [][]string{no, {"x-spillway-max-wait", "0"}}[i/2%2]
			c := g.send(t, ask{path: []string{chatPath, messagesPath}[i%2], priority: "normal", headers: headers})
			wantRefused(t, c, http.StatusTooManyRequests, "queue/no_wait", "There is no room at upstream impatient now, and the request asks not to wait. Please try again in ")
			refused = append(refused, c)
		}
		hurried := g.send(t, ask{headers: soon})
		wantRefused(t, hurried, http.StatusTooManyRequests, "queue/max_wait", "ms for upstream impatient, as long as the request asks to.")
		if hurried.took < willing {
			t.Errorf("it took %v, want %v and what the machine adds", hurried.took, willing)
		}
		wrong := g.send(t, ask{headers: []string{"x-spillway-max-wait", "soon"}})
		wrong.wait(t)
		if wrong.status != http.StatusBadRequest || wrong.header.Get("x-spillway-reason") != "request/unreadable_wait" ||
			!strings.Contains(string(wrong.body), "Send x-spillway-queue: no, or x-spillway-max-wait with a whole number of milliseconds or with a unit, such as 500 or 2s.") {
			t.Errorf("a word that can't be read: %v", wrong.answer)
		}
		if patient.over() {
			t.Errorf("the other did not wait on: %v", patient.answer)
		}
		busy.cancel()
		wantServed(t, patient)
		for _, r := range g.sim.Requests() {
			for _, name := range []string{"x-spillway-queue", "x-spillway-max-wait"} {
				if value, there := r.Headers[name]; there {
					t.Errorf("the server is shown %s: %s", name, value)
				}
			}
		}
		for _, r := range g.logs(t, refused...) {
			r.Want(t, map[string]string{"decision": "REJECTED", "gate": "queue", "reason": "no_wait", "status": "429"})
		}
		for _, r := range g.logs(t, wrong) {
			r.Want(t, map[string]string{"decision": "REJECTED", "gate": "request", "reason": "unreadable_wait", "status": "400"})
		}
		g.wantUnseen(t, append(refused, hurried, wrong)...)
		g.awaitIdle(t)
	})
}

// patientQueues lets requests wait for an hour where a configuration doesn't say how long: what waits on a busy machine must not be refused for that.
func patientQueues(t *testing.T, config string) string {
	t.Helper()
	var root map[string]any
	read := json.NewDecoder(strings.NewReader(config))
	read.UseNumber()
	if err := read.Decode(&root); err != nil {
		t.Fatalf("%v: %s", err, config)
	}
	within := func(object map[string]any, name string) map[string]any {
		if object[name] == nil {
			object[name] = map[string]any{}
		}
		return object[name].(map[string]any)
	}
	upstreams, _ := root["upstreams"].([]any)
	for _, upstream := range upstreams {
		waits := within(within(upstream.(map[string]any), "queue"), "maxWait")
		for _, priority := range []string{"urgent", "high", "normal", "low"} {
			if waits[priority] == nil {
				waits[priority] = "1h"
			}
		}
	}
	text, err := json.Marshal(root)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
