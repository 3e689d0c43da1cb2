package fleettest

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
	"github.com/spillway-proxy/spillway/e2e/support/harness/fleetproc"
	"github.com/spillway-proxy/spillway/e2e/support/llmsim"
)

// A fleet whose limits are Spillway's own, leased from ratelimit's HTTP API (scope: fleet): two Envoys, one with one worker and one with four.

// leased is such a fleet.
type leased struct {
	*fleet
	top         *testing.T
	calls       *atomic.Int64 // to ratelimit
	url, server string        // of ratelimit's HTTP port, as the Envoys know it, and of what is behind them
}

// leaseLimit is a limit of the fleet for each user. Its timeout is the longest there is: a busy machine is no outage.
func leaseLimit(name string, quantity int, onDown string) string {
	return fmt.Sprintf(`{"requestHold":"stopIteration","fleet":{"timeout":"10s","onDown":%q},
		"limits":[{"name":%q,"per":["user"],"unit":"completionTokens","quantity":%d,"window":"24h","scope":"fleet"}]}`, onDown, name, quantity)
}

func startLeased(t *testing.T) *leased {
	t.Helper()
	f := &leased{top: t, calls: new(atomic.Int64), fleet: &fleet{
		shared: startShared(t), door: &door{},
		sim: llmsim.New(llmsim.Options{Models: []string{"mock"}, Tokens: answer, RecordHeaders: []string{"*"}}),
	}}
	server := httptest.NewServer(f.door.before(f.sim))
	t.Cleanup(func() {
		f.door.open()
		server.CloseClientConnections()
		server.Close()
	})
	f.server = server.URL
	f.url = harness.Serve(t, http.HandlerFunc(f.forward))
	var started sync.WaitGroup
	for i := range f.envoys {
		started.Go(func() { f.envoys[i] = f.startEnvoy(t, i, server.URL) })
	}
	started.Wait()
	for _, e := range f.envoys {
		if e == nil {
			t.FailNow()
		}
	}
	return f
}

func (f *leased) startEnvoy(t *testing.T, i int, upstream string) *harness.Envoy {
	return harness.Start(t, harness.Options{
		Config: leaseLimit("first", limit, "refuse"), Upstream: upstream, Concurrency: 1 + 3*i, Clusters: []any{cluster("ratelimit", f.url)},
	})
}

// cluster is one of Envoy's.
func cluster(name, url string) map[string]any {
	host, port, _ := envoyproc.SplitAddress(strings.TrimPrefix(url, "http://"))
	return map[string]any{
		"name": name, "connect_timeout": "1s", "type": "STATIC",
		"load_assignment": map[string]any{"cluster_name": name, "endpoints": []any{map[string]any{"lb_endpoints": []any{map[string]any{
			"endpoint": map[string]any{"address": map[string]any{"socket_address": map[string]any{"address": host, "port_value": port}}}}}}}},
	}
}

// forward counts what ratelimit is asked.
func (f *leased) forward(w http.ResponseWriter, r *http.Request) {
	f.calls.Add(1)
	request, _ := http.NewRequestWithContext(r.Context(), r.Method, fmt.Sprintf("http://%s%s", local(f.httpPort), r.URL.Path), r.Body)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer func() { _ = response.Body.Close() }()
	w.WriteHeader(response.StatusCode)
	_, _ = io.Copy(w, response.Body)
}

// used is what the server has answered with, in tokens, to a user.
func (f *leased) used(user string) int { return f.received(user) * answer }

// counted is what Redis has of a limit, less what the proxies have given back, of the user who has most.
func (f *leased) counted(name string) (most int) {
	net := map[string]int{}
	for _, key := range f.must("KEYS", "llm_limit_"+name+"_subject_*") {
		n, _ := strconv.Atoi(f.must("GET", key)[0])
		user, _, _ := strings.Cut(key, "}")
		switch {
		case strings.Contains(key, "_proxy_"): // of one of them
		case strings.Contains(key, "_given_back_"):
			net[user] -= n
		default:
			net[user] += n
		}
	}
	for _, n := range net {
		most = max(most, n)
	}
	return most
}

// load has clients send requests of a user one after the other until it is stopped.
func (f *leased) load(clients int, user string) (stop func()) {
	var all sync.WaitGroup
	ended := make(chan struct{})
	for i := range clients {
		all.Go(func() {
			for {
				select {
				case <-ended:
					return
				default:
				}
				f.try(i%2, user)
				time.Sleep(5 * time.Millisecond) // a client thinks for a while
			}
		})
	}
	return func() { close(ended); all.Wait() }
}

// try sends a request which may come to nothing: its proxy may be gone.
func (f *leased) try(envoy int, user string) int {
	e := f.envoys[envoy]
	request, err := ask{user: user}.request(f.t.Context(), e.URL)
	if err != nil {
		return 0
	}
	response, err := e.Client.Do(request)
	if err != nil {
		time.Sleep(10 * time.Millisecond) // a client that finds nobody tries again a little later
		return 0
	}
	_, _ = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
	return response.StatusCode
}

// TestLeases is all of it with one fleet.
func TestLeases(t *testing.T) {
	harness.AwaitDay(t) // no window ends meanwhile
	f := startLeased(t)
	for _, test := range []struct {
		name string
		run  func(*leased)
	}{
		{"at the edge", leaseEdge}, {"dollars", leaseDollars}, {"the example", leaseExample}, {"a crowd", leaseCrowd}, {"a busy user", leaseBusy}, {"idle", leaseIdle}, {"before the wall", leaseNearly}, {"odd names", leaseNames},
		{"kill -9", leaseKills}, {"Redis loses its data", leaseLost}, {"ratelimit is gone", leaseDown},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := *f.shared
			s.t = t
			in := &leased{fleet: &fleet{&s, f.envoys, f.sim, f.door, f.config}, top: f.top, calls: f.calls, url: f.url, server: f.server}
			before := f.calls.Load()
			test.run(in)
			t.Logf("%d calls", f.calls.Load()-before)
			f.envoys = in.envoys
		})
	}
}

// leaseEdge is the issue's: 228 of 300 are used, and 12 come at once.
func leaseEdge(f *leased) {
	for i := range 3 {
		if r := f.send(i%2, ask{user: "edge"}); r.status != http.StatusOK {
			f.t.Fatalf("request %d: %d %s", i, r.status, r.body)
		}
	}
	passed := f.crowd(12, ask{user: "edge"})
	used := f.used("edge")
	f.t.Logf("%d of 12 passed, %d used of %d, %d counted", passed, used, limit, f.counted("first"))
	if passed == 0 || used > limit+2*answer {
		f.t.Errorf("%d of 12 passed, %d used of %d", passed, used, limit)
	}
	r := f.send(1, ask{user: "edge"})
	if r.status != http.StatusTooManyRequests || r.header.Get("x-spillway-reason") != "limits/tokens_exceeded" || r.header.Get("retry-after") == "" {
		f.t.Errorf("one more: %d %v", r.status, r.header)
	}
}

// leaseDollars is the same in dollars, which are leased by the thousandth: a token costs one.
func leaseDollars(f *leased) {
	f.configure(fmt.Sprintf(`{"requestHold":"stopIteration","fleet":{"timeout":"10s","onDown":"refuse"},"prices":[{"prompt":0,"completion":1000}],
		"limits":[{"name":"dollars","per":["user"],"unit":"usd","quantity":%g,"window":"24h","scope":"fleet"}]}`, limit/1000.0))
	for f.crowd(4, ask{user: "dollars"}) > 0 {
		continue
	}
	used := f.used("dollars")
	f.t.Logf("%d thousandths used of %d, %d counted", used, limit, f.counted("dollars"))
	if used < limit*8/10 || used > limit+2*answer {
		f.t.Errorf("%d thousandths used of %d", used, limit)
	}
	r := f.send(1, ask{user: "dollars"})
	if r.status != http.StatusTooManyRequests || r.header.Get("x-spillway-reason") != "limits/spend_exceeded" || !strings.Contains(r.body, "limit $0.30, used $0.3") {
		f.t.Errorf("one more: %d %v %s", r.status, r.header, r.body)
	}
}

// leaseCrowd is 64 clients at once.
func leaseCrowd(f *leased) {
	const quantity, clients = 6000, 64
	f.configure(leaseLimit("crowd", quantity, "refuse"))
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			for f.try(i%2, "crowd") == http.StatusOK {
				continue
			}
		})
	}
	all.Wait()
	used := f.used("crowd")
	f.t.Logf("%d used of %d, %d counted", used, quantity, f.counted("crowd"))
	if used > quantity+2*answer || used < quantity*8/10 {
		f.t.Errorf("%d used of %d", used, quantity)
	}
}

// leaseBusy is one who asks for much, and costs few calls: leases grow while they are used up within two seconds, and a proxy that asks for nothing makes a call
// every two seconds. So on a slow machine more are made for as many requests, but no more than one a second at each proxy.
func leaseBusy(f *leased) {
	const requests, clients = 800, 8
	f.configure(leaseLimit("busy", 10_000_000, "refuse"))
	began, before := time.Now(), f.calls.Load()
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			for range requests / clients {
				if status := f.try(i%2, "busy"); status != http.StatusOK {
					f.t.Errorf("got %d", status)
				}
			}
		})
	}
	all.Wait()
	calls := f.calls.Load() - before
	took := time.Since(began)
	f.t.Logf("%d calls for %d requests in %v", calls, requests, took)
	if most := requests/20 + len(f.envoys)*int(took/time.Second); calls > int64(most) {
		f.t.Errorf("%d calls for %d requests in %v, want at most %d", calls, requests, took, most)
	}
}

// leaseIdle is one who leaves: what he hasn't used is given back, and he finds it at the other proxy.
func leaseIdle(f *leased) {
	f.configure(strings.Replace(leaseLimit("idle", limit, "refuse"), `"per"`, `"admission":"strict","per"`, 1))
	if r := f.send(0, ask{user: "idle"}); r.status != http.StatusOK {
		f.t.Fatalf("%d %s", r.status, r.body)
	}
	leased := f.counted("idle")
	harness.Await(f.t, patience, "what is idle is given back", func() bool { return f.counted("idle") == answer })
	f.t.Logf("%d were leased for one answer of %d", leased, answer)
	f.configure(leaseLimit("idle", limit, "refuse"))
	for f.send(1, ask{user: "idle"}).status == http.StatusOK {
		continue
	}
	if used := f.used("idle"); used < limit || used > limit+2*answer {
		f.t.Errorf("%d used of %d", used, limit)
	}
}

// leaseNearly is a fleet's limit of which little is left, in tokens and in dollars: its clients are told so by either proxy.
func leaseNearly(f *leased) {
	const nearly = `"nearly":{"at":0.6,"responseHeader":true},"per"`
	const answers = 10
	f.configure(strings.Replace(leaseLimit("near", answers*answer, "refuse"), `"per"`, nearly, 1))
	near := func(user string) (told string) {
		for i := range answers {
			r := f.send(i%2, ask{user: user})
			if r.status != http.StatusOK {
				break
			}
			told += map[bool]string{true: "n", false: "."}[r.header.Get("x-spillway-nearly") == user]
		}
		return told
	}
	tokens := near("near")
	f.configure(fmt.Sprintf(`{"requestHold":"stopIteration","fleet":{"timeout":"10s","onDown":"refuse"},"prices":[{"prompt":0,"completion":1000}],
		"limits":[{"name":"near-usd",%s:["user"],"unit":"usd","quantity":%g,"window":"24h","scope":"fleet"}]}`, nearly, answers*answer/1000.0))
	dollars := near("near-usd")
	f.t.Logf("tokens %s, dollars %s", tokens, dollars)
	for _, told := range []string{tokens, dollars} {
		if first := strings.Index(told, "n"); first < 2 || first > 7 || len(told) < 8 || !strings.HasSuffix(told, "n") {
			f.t.Errorf("of the limit's 6th tenth on clients are told so: %s", told)
		}
	}
}

// leaseNames are subjects that would be something else to ratelimit or Redis, if they were told them.
func leaseNames(f *leased) {
	f.configure(leaseLimit("names", limit, "refuse"))
	for _, name := range []string{`a"b`, "a_b|c:d", strings.Repeat("x", 4000), "ä", `{"key":"limit"}`} {
		if r := f.send(0, ask{user: name}); r.status != http.StatusOK {
			f.t.Errorf("%.20q: %d %s", name, r.status, r.body)
		}
	}
	keys, err := fleetproc.Command(f.redisPort, "KEYS", "*")
	if err != nil {
		f.t.Fatal(err)
	}
	for _, key := range keys {
		if !strings.HasPrefix(key, "llm_limit_") && !strings.HasPrefix(key, "llm_proxy_") || len(key) > 100 {
			f.t.Errorf("Redis has %q", key)
		}
	}
}

// leaseKills kills each part under load, twice: the limit is never passed by more than what was in flight, what is left can be used, and it goes on within seconds.
func leaseKills(f *leased) {
	const quantity, clients = 60_000, 8
	f.configure(leaseLimit("kills", quantity, "refuse"))
	for part, kills := range map[string]func(stop func()){
		"ratelimit": func(func()) { kill(f.ratelimit.PID()); f.startRatelimit() },
		"redis":     func(func()) { kill(f.redis.PID()); <-f.redis.Done(); f.startRedis(f.data) },
		"envoy": func(stop func()) {
			kill(f.envoys[0].PID())
			<-f.envoys[0].Exited()
			stop()
			f.envoys[0] = f.startEnvoy(f.top, 0, f.server)
			if r := f.send(0, ask{user: "edge"}); r.status != http.StatusTooManyRequests {
				f.t.Errorf("who had used up his limit before Envoy was killed: %d %v", r.status, r.header)
			}
			if err := f.envoys[0].Reconfigure(leaseLimit("kills", quantity, "refuse")); err != nil {
				f.t.Fatal(err)
			}
		},
	} {
		for _, at := range []int{4, 2} {
			stop := sync.OnceFunc(f.load(clients, part))
			harness.Await(f.t, patience, "a part is used", func() bool { return f.used(part) > quantity/at })
			kills(stop)
			f.back(fmt.Sprint("after-", part, "-", at))
			stop()
		}
		stop := f.load(clients, part)
		harness.Await(f.t, patience, "it is used up", func() bool { return f.exhausted(part) })
		stop()
		used, counted := f.used(part), f.counted("kills")
		f.t.Logf("%s is killed: %d used of %d, %d counted at most", part, used, quantity, counted)
		if used > quantity+clients*answer || used < quantity/2 { // an Envoy that is killed takes its leases along
			f.t.Errorf("%s is killed: %d used of %d, %d counted", part, used, quantity, counted)
		}
	}
}

// back waits until somebody new is served by both proxies.
func (f *leased) back(user string) {
	since := time.Now()
	harness.Await(f.t, patience, user+" is served", func() bool { return f.try(0, user) == http.StatusOK && f.try(1, user) == http.StatusOK })
	f.t.Logf("%s: back after %v", user, time.Since(since).Round(time.Millisecond))
}

// exhausted says that both proxies refuse a user since nothing is left.
func (f *leased) exhausted(user string) bool {
	for i := range f.envoys {
		if r := f.send(i, ask{user: user}); r.header.Get("x-spillway-reason") != "limits/tokens_exceeded" {
			return false
		}
	}
	return true
}

// leaseLost kills a Redis that keeps nothing, under load, whenever a part of a limit is used, also soon after the last time: no more than the limit is used, and what was in flight, and most of it.
func leaseLost(f *leased) {
	const quantity, clients = 60_000, 8
	f.configure(leaseLimit("lost", quantity, "refuse"))
	for _, at := range [][]int{{1, 2}, {5}, {8}, {2, 3, 7}} { // tenths of the limit
		user := fmt.Sprint("lost-at-", at)
		stop := f.load(clients, user)
		for _, part := range at {
			harness.Await(f.t, patience, "a part is used", func() bool { return f.used(user) > quantity*part/10 })
			kill(f.redis.PID())
			<-f.redis.Done()
			f.startRedis("")
		}
		began := time.Now()
		used := f.used(user)
		harness.Await(f.t, patience, "more is used", func() bool { return f.used(user) > used+2*clients*answer })
		back := time.Since(began)
		harness.Await(f.t, patience, "it is used up", func() bool { return f.exhausted(user) })
		stop()
		f.t.Logf("lost at %v tenths: %d used of %d, back after %v", at, f.used(user), quantity, back.Round(time.Millisecond))
		if used := f.used(user); used > quantity+clients*answer || used < quantity*9/10 {
			f.t.Errorf("%d used of %d", used, quantity)
		}
	}
}

// kill ends a process as a machine's failure does.
func kill(pid int) { _ = syscall.Kill(pid, syscall.SIGKILL) }

// leaseDown is what onDown says.
func leaseDown(f *leased) {
	f.configure(leaseLimit("down", limit, "refuse"))
	f.stopRatelimit()
	for _, test := range []struct {
		onDown string
		want   string
	}{{"refuse", "429 429 429 429 429 429"}, {"local", "200 200 200 200 429 429"}, {"pass", "200 200 200 200 200 200"}} {
		f.configure(leaseLimit("down-"+test.onDown, limit, test.onDown))
		var got []string
		var last reply
		for range 6 {
			last = f.send(1, ask{user: "down"})
			got = append(got, fmt.Sprint(last.status))
		}
		if strings.Join(got, " ") != test.want {
			f.t.Errorf("%s: got %s, want %s", test.onDown, got, test.want)
		}
		if reason := last.header.Get("x-spillway-reason"); test.onDown == "refuse" && (reason != "limits/fleet_unavailable" || last.header.Get("retry-after") != "1") {
			f.t.Errorf("%q, %v", reason, last.header)
		}
	}
	const down = "wasmcustom.spillway_fleet_down"
	if f.envoys[1].Stats(down)[down] != 1 {
		f.t.Errorf("%s is %v", down, f.envoys[1].Stats("spillway_fleet"))
	}
	f.startRatelimit()
	began := time.Now()
	harness.Await(f.t, patience, "ratelimit is used again", func() bool {
		f.send(1, ask{user: "down"})
		return f.envoys[1].Stats(down)[down] == 0
	})
	for _, line := range []string{"gave no answer that can be used", "answers again: limits of the fleet are leased from it"} {
		harness.Await(f.t, patience, "Envoy's log has "+line, func() bool { return strings.Contains(f.envoys[1].Logs(), line) })
	}
	harness.Await(f.t, patience, "what passed meanwhile is counted", func() bool { return f.counted("down-pass") >= 6*answer })
	f.t.Logf("back after %v, %d counted of what passed", time.Since(began).Round(time.Millisecond), f.counted("down-pass"))
}
