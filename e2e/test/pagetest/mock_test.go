package pagetest

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// hostile is what a client may call itself.
const hostile = `user="><script>document.title='taken'</script><img src=x onerror=document.title='taken'>`

// mock speaks the admin surface's contract for a proxy that doesn't exist, so that a test can say how it stands.
type mock struct {
	*httptest.Server

	mu        sync.Mutex
	began     time.Time
	silent    bool // it hangs up
	token     string
	refuse    int // the status of the next change, with one error; 0: it is taken
	quantity  float64
	drained   bool
	overrides map[string]any
	sent      []string // changes, as "METHOD path body"
	noLatency bool     // no latency gate is on
	lags      bool     // who is asked doesn't know of the latest change
	before    object   // what it tells of overrides then
	asked     map[string]int
	heard     time.Time // when it has answered last what the status is
}

const token = "opensesame"

func newMock(t *testing.T) *mock {
	t.Helper()
	m := &mock{began: time.Now().Add(-time.Hour), token: token, quantity: 300, overrides: map[string]any{}, asked: map[string]int{}}
	html, headers := builtPage(t)
	routes := http.NewServeMux()
	routes.HandleFunc("GET /spillway/{$}", func(w http.ResponseWriter, _ *http.Request) {
		for name, value := range headers {
			w.Header().Set(name, value)
		}
		fmt.Fprint(w, html)
	})
	routes.HandleFunc("GET /spillway/status", m.status)
	routes.HandleFunc("GET /spillway/config", m.config)
	routes.HandleFunc("GET /spillway/subjects", func(w http.ResponseWriter, r *http.Request) { answer(w, m.subjects(r.FormValue("limit"))) })
	routes.HandleFunc("GET /spillway/decisions", func(w http.ResponseWriter, _ *http.Request) { answer(w, m.decisions()) })
	routes.HandleFunc("GET /spillway/limits/{name}", m.balance)
	routes.HandleFunc("PATCH /spillway/overrides", m.patch)
	routes.HandleFunc("DELETE /spillway/overrides", m.takeBack)
	routes.HandleFunc("POST /spillway/", m.change)
	m.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.mu.Lock()
		silent := m.silent
		m.asked[r.URL.Path]++
		m.mu.Unlock()
		if silent {
			panic(http.ErrAbortHandler)
		}
		routes.ServeHTTP(w, r)
		if r.URL.Path == "/spillway/status" {
			m.set(func() { m.heard = time.Now() })
		}
	}))
	t.Cleanup(m.Close)
	return m
}

// set changes what the proxy is like.
func (m *mock) set(change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
}

func (m *mock) changes() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), m.sent...)
}

func answer(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(body)
}

type object = map[string]any

func gate(value, threshold any, state string, more object) object {
	g := object{"value": value, "threshold": threshold, "state": state, "lastTrigger": nil, "recoversInSeconds": 0}
	for key, of := range more {
		g[key] = of
	}
	return g
}

func (m *mock) status(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	up := int(time.Since(m.began).Seconds())
	tag := fmt.Sprintf(`"%d"`, up)
	w.Header().Set("ETag", tag)
	if r.Header.Get("If-None-Match") == tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	ago := func(d time.Duration) string { return time.Now().Add(-d).UTC().Format(time.RFC3339) }
	wave := (up/7)%5 + up%3
	// grown is what a rate that comes and goes has grown to.
	grown := func(mean, swing, period float64) int {
		return int(mean*float64(up) - swing*period*math.Cos(float64(up)/period))
	}
	latency := gate(930+wave*6, 1000, "WARNING", object{"parts": []object{gate(930+wave*6, 1000, "WARNING", object{"name": "llama-3 ttft"}), gate(41, 100, "PASSING", object{"name": "llama-3 itl"})}})
	if m.noLatency {
		latency = gate(nil, nil, "OFF", nil)
	}
	answer(w, object{
		"version": "v1.4.0", "uptimeSeconds": up, "workers": 4, "mode": "enforce",
		"requests": object{"ALLOWED": grown(38, 14, 17), "QUEUED": grown(9, 5, 11), "REJECTED": grown(4, 4, 8), "CANCELLED": grown(0.6, 0.5, 5), "SHADOW": 0},
		"tokens":   object{"prompt": grown(9000, 3000, 17), "completion": grown(2300, 800, 17), "total": grown(11300, 3800, 17)},
		"limits": []object{
			{"name": "user-completion-tokens", "per": []string{"user"}, "unit": "completionTokens", "quantity": m.quantity, "windowSeconds": 3600, "burst": 300, "admission": "lenient", "mode": "enforce"},
			{"name": "tenant-requests", "per": []string{"tenant", "model"}, "unit": "requests", "quantity": 600, "windowSeconds": 60, "burst": 600, "admission": "strict", "mode": "shadow"},
		},
		"upstreams": []object{{
			"name": "vllm", "drained": m.drained,
			"budget":   gate(412-wave*20, 600, "AVAILABLE", object{"requestsLeft": 412 - wave*20, "requestsBurst": 600, "tokensLeft": 181000 - wave*9000, "tokensBurst": 200000}),
			"queue":    gate(11+wave, 500, "WAITING", object{"urgent": 0, "high": 2, "normal": 5 + wave, "low": 4, "inFlight": 38, "slots": 40, "why": "40: ttft 310 ms is 1.9 times the best 160 ms"}),
			"retreat":  gate(0.062, 0.05, "RETREATING", object{"lastTrigger": object{"time": ago(14 * time.Second), "reason": "429"}, "recoversInSeconds": 106, "effectiveRpm": 450 - wave, "budgetThousandths": 750}),
			"latency":  latency,
			"throttle": gate(nil, nil, "OFF", nil),
			"breaker":  gate(0.71, 0.5, "OPEN", object{"parts": []object{gate(0.04, 0.5, "CLOSED", object{"name": "llama-3"}), gate(0.71, 0.5, "OPEN", object{"name": "mistral-7b", "lastTrigger": object{"time": ago(31 * time.Second), "reason": "error_rate"}, "recoversInSeconds": 29})}}),
			"pressure": gate(0.91, 0.85, "REFUSING", object{"lastTrigger": object{"time": ago(2 * time.Second), "reason": "busy"}}),
		}},
		"pressure": object{"ageSeconds": 0.6, "instances": 2, "servers": []object{
			{"activeDecodeBlocks": 0.42, "gpuMemory": 0.71, "activePrefillTokens": 1200, "ageSeconds": 0.3},
			{"activeDecodeBlocks": 0.91, "gpuMemory": nil, "activePrefillTokens": 10400, "ageSeconds": 0.4},
		}},
		"overrides": m.told(),
	})
}

func (m *mock) subjects(limit string) object {
	refusal := func(ago time.Duration) object {
		return object{"time": time.Now().Add(-ago).UTC().Format(time.RFC3339), "reason": "exhausted"}
	}
	subject := func(name string, used, refused float64, last any) object {
		return object{"subject": name, "used": used, "usedAtMost": used, "refused": refused, "refusedAtMost": refused, "lastRefusal": last}
	}
	ann := subject("user=ann", 5120, 41, refusal(3*time.Second))
	return object{"limit": limit, "workers": 4, "halvedEverySeconds": 600, "subjects": []object{ann, subject("user=batch-nightly", 2650, 3, refusal(4*time.Minute)),
		subject("key=h:9f2c61d0", 1200, 0, nil), subject(hostile, 4, 0, nil)}, "mostRefused": []object{ann, subject("user=mallory", 0, 977, refusal(time.Second))}}
}

func (m *mock) balance(w http.ResponseWriter, r *http.Request) {
	if who := r.FormValue("subject"); who == "nonsense" {
		w.WriteHeader(http.StatusUnprocessableEntity)
		answer(w, object{"errors": []object{{"path": "subject", "message": "want user=…"}}})
	} else {
		answer(w, left(who, 300))
	}
}

// left is the balance of a subject.
func left(who string, remaining int) object {
	return object{"limit": "user-completion-tokens", "subject": who, "quantity": 300, "burst": 300, "used": 300 - remaining, "reserved": 0, "remaining": remaining,
		"resetsInSeconds": 12 * (300 - remaining), "granted": nil}
}

func (m *mock) decisions() object {
	list := []object{}
	for i, who := range []string{"user=ann", hostile, "user=ann", "user=bob", "key=h:9f2c61d0", "user=batch-nightly"} {
		list = append(list, object{
			"time": time.Now().Add(-time.Duration(i*i*4+1) * time.Second).UTC().Format(time.RFC3339), "subject": who, "decision": []string{"REJECTED", "REJECTED", "SHADOW", "OPEN"}[i%4],
			"gate": []string{"limits", "queue", "latency", "breaker"}[i%4], "reason": []string{"exhausted", "full", "ttft", "open"}[i%4],
			"limit": []string{"user-completion-tokens", "", "", ""}[i%4], "model": []string{"llama-3", "mistral-7b"}[i%2], "priority": "NORMAL", "retryAfterSeconds": 48 * (i % 3),
		})
	}
	return object{"decisions": list}
}

// told is what the proxy tells of its overrides.
func (m *mock) told() object {
	differences := []object{}
	if m.quantity != 300 {
		differences = append(differences, object{"path": "/limits/0/quantity", "file": 300, "value": m.quantity},
			object{"path": "/limits/0/burst", "file": 300, "value": m.quantity}) // which follows
	}
	return object{"revision": len(m.sent), "overrides": m.overrides, "differences": differences}
}

func (m *mock) config(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r.URL.Query().Has("overrides") {
		if m.lags {
			answer(w, m.before)
			return
		}
		m.before = m.told()
		answer(w, m.before)
		return
	}
	answer(w, object{ // of a worker that doesn't know yet what is overridden
		"mode": "enforce", "retry": object{"longest": "1m"},
		"limits":    []object{{"name": "user-completion-tokens", "per": []string{"user"}, "unit": "completionTokens", "quantity": 300, "window": "1h", "burst": 300, "admission": "lenient", "mode": "enforce"}},
		"upstreams": []object{{"name": "vllm", "models": []string{"*"}, "queue": object{"max": 500}, "breaker": object{"mode": "enforce", "errorRate": 0.5}}},
		"admin":     object{"path": "/spillway", "tokens": []string{"***"}},
	})
}

// allowed says whether a change has the token, and notes it.
func (m *mock) allowed(w http.ResponseWriter, r *http.Request) bool {
	body, _ := io.ReadAll(r.Body)
	m.mu.Lock()
	defer m.mu.Unlock()
	given := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if given != m.token {
		w.WriteHeader(http.StatusForbidden)
		answer(w, object{"errors": []object{{"path": "", "message": "this token is none of those that the configuration has"}}})
		return false
	}
	m.sent = append(m.sent, r.Method+" "+r.URL.RequestURI()+" "+string(body))
	if m.refuse != 0 {
		w.WriteHeader(m.refuse)
		answer(w, object{"errors": []object{{"path": "/limits/0/quantity", "message": "must be from 1 to 1000000000000"}, {"path": "", "message": "and nothing was changed"}}})
		m.refuse = 0
		return false
	}
	if r.Method == http.MethodPatch {
		_ = json.Unmarshal(body, &m.overrides)
		if limits, is := m.overrides["limits"].(object); is {
			for _, values := range limits {
				m.quantity = values.(object)["quantity"].(float64)
			}
		}
	}
	return true
}

func (m *mock) patch(w http.ResponseWriter, r *http.Request) {
	if m.allowed(w, r) {
		m.mu.Lock()
		defer m.mu.Unlock()
		answer(w, m.told())
	}
}

func (m *mock) takeBack(w http.ResponseWriter, r *http.Request) {
	if m.allowed(w, r) {
		m.set(func() {
			m.quantity, m.overrides = 300, object{}
			answer(w, m.told())
		})
	}
}

func (m *mock) change(w http.ResponseWriter, r *http.Request) {
	if m.allowed(w, r) {
		m.set(func() {
			m.drained = strings.HasSuffix(r.URL.Path, "/drain") || m.drained && !strings.HasSuffix(r.URL.Path, "/resume")
		})
		answer(w, left("user=ann", 300))
	}
}
