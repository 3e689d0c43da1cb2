package llmsim

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// background posts in a goroutine and returns how to hang up; wait returns once
// the request has ended.
func background(t *testing.T, url, req string, headers ...string) (hangUp func(), wait func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		res, err := http.DefaultClient.Do(newPost(ctx, url+chatPath, req, headers...))
		if err == nil {
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
		}
	}()
	t.Cleanup(cancel)
	return cancel, func() { <-ended }
}

func TestSlotsAreFIFO(t *testing.T) {
	s, url := start(t, Options{Slots: 1})
	hangUps := map[string]func(){}
	ids := []string{"holder", "a", "b", "c", "d"}
	for i, id := range ids {
		req := []string{chatJSON, chatStream}[i%2]
		hangUps[id], _ = background(t, url, req, "hang", "forever", "id", id)
		await(t, s, func(st Stats) bool { return st.Running == 1 && st.Waiting == int64(i) })
	}
	hangUps["b"]()
	await(t, s, func(st Stats) bool { return st.Waiting == 3 && st.ClientLeft == 1 })
	// The others get the slot in their order, each when the one before leaves it.
	turn := []string{"holder", "a", "c", "d"}
	for i, id := range turn[1:] {
		hangUps[turn[i]]()
		await(t, s, func(Stats) bool { return inSlot(s)[id] })
		await(t, s, func(st Stats) bool { return st.ClientLeft == int64(i+2) })
		if got := inSlot(s); len(got) != 1 {
			t.Errorf("%s is to run, but in a slot are %v", id, got)
		}
	}
	if st := s.Stats(); st.MaxRunning != 1 || st.Waiting != 0 {
		t.Errorf("stats %+v", st)
	}
}

// Slots that go are gone when what runs in them has ended; those that come are the first's that wait.
func TestSlotsChange(t *testing.T) {
	s, url := start(t, Options{Slots: 2})
	hangUps := map[string]func(){}
	for i, id := range []string{"a", "b", "c", "d"} {
		hangUps[id], _ = background(t, url, chatJSON, "hang", "forever", "id", id)
		await(t, s, func(st Stats) bool { return st.Running+st.Waiting == int64(i+1) })
	}
	s.SetSlots(1)
	hangUps["a"]()
	await(t, s, func(st Stats) bool { return st.ClientLeft == 1 })
	if got := inSlot(s); len(got) != 1 || !got["b"] {
		t.Errorf("in slots are %v, want b alone", got)
	}
	s.SetSlots(2)
	await(t, s, func(Stats) bool { return inSlot(s)["c"] })
	if st := s.Stats(); st.Running != 2 || st.Waiting != 1 {
		t.Errorf("stats %+v", st)
	}
	s.SetSlots(0)
	await(t, s, func(Stats) bool { return inSlot(s)["d"] })
}

// inSlot names the requests in flight that have a slot.
func inSlot(s *Server) map[string]bool {
	ids := map[string]bool{}
	for _, r := range s.Requests() {
		if r.Outcome == InFlight && r.Queued > 0 {
			ids[r.Headers["x-sim-id"]] = true
		}
	}
	return ids
}

func TestClientThatLeavesFreesItsSlot(t *testing.T) {
	s, url := start(t, Options{Slots: 1})
	hangUp, _ := background(t, url, chatStream, "itl", "1h")
	await(t, s, func(st Stats) bool { return st.Tokens == 1 })
	_, wait := background(t, url, chatJSON, "tokens", "2")
	await(t, s, func(st Stats) bool { return st.Waiting == 1 })
	hangUp()
	wait()
	await(t, s, func(st Stats) bool { return st.Completed == 1 && st.ClientLeft == 1 })
	if r := s.Requests()[0]; r.Outcome != ClientLeft || r.Tokens != 1 || r.Status != 200 {
		t.Errorf("record %+v", r)
	}
}

func TestCloseEndsWhatHangs(t *testing.T) {
	s, url := start(t, Options{Slots: 1})
	_, wait := background(t, url, chatJSON, "hang", "forever")
	await(t, s, func(st Stats) bool { return st.Running == 1 })
	_, wait2 := background(t, url, chatStream)
	await(t, s, func(st Stats) bool { return st.Running == 1 && st.Waiting == 1 })
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	wait()
	wait2()
	await(t, s, func(st Stats) bool { return st.Aborted+st.ClientLeft == 2 && st.Running == 0 })
	if _, err := s.Start("127.0.0.1:0"); err == nil {
		t.Error("started again")
	}
	if err := New(Options{}).Close(); err != nil {
		t.Error(err)
	}
}

func TestCutBodyIsRecorded(t *testing.T) {
	s, url := start(t, Options{})
	gate := make(chan struct{})
	r := newPost(t.Context(), url+chatPath, "", "id", "cut")
	r.Body, r.ContentLength = io.NopCloser(body(`{"mod`, gate, errors.New("cut"))), 1000
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if res, err := http.DefaultClient.Do(r); err == nil {
			t.Error("answered")
			_ = res.Body.Close()
		}
	}()
	await(t, s, func(st Stats) bool { return st.Received == 1 })
	if rec := s.Requests()[0]; rec.Outcome != InFlight || rec.Status != 0 {
		t.Errorf("record %+v", rec)
	}
	close(gate)
	<-ended
	await(t, s, func(st Stats) bool { return st.BodyAborted == 1 })
	rec := s.Requests()[0]
	if rec.Outcome != BodyAborted || rec.BodyBytes != 5 || rec.Body != `{"mod` || rec.Headers["x-sim-id"] != "cut" {
		t.Errorf("record %+v", rec)
	}
}

func TestRecords(t *testing.T) {
	s, url := start(t, Options{History: 3, RecordBody: 10, RecordHeaders: []string{"x-sim-*", "Host", "Authorization"}})
	for _, id := range []string{"1", "2", "3", "4", "5"} {
		send(t, url+chatPath, chatStream, "tokens", id, "id", id, "prompt-tokens", "8")
	}
	await(t, s, func(st Stats) bool { return st.Completed == 5 })
	recs := s.Requests()
	if len(recs) != 3 || recs[0].ID != 3 || recs[2].ID != 5 {
		t.Fatalf("records %+v", recs)
	}
	r := recs[2]
	if r.Method != "POST" || r.Path != chatPath || r.Model != "m" || !r.Stream || r.Tokens != 5 || r.PromptTokens != 8 ||
		r.Body != chatStream[:10] || r.BodyBytes != int64(len(chatStream)) || r.Status != 200 || r.Time.IsZero() ||
		r.Headers["host"] != strings.TrimPrefix(url, "http://") || r.Headers["x-sim-id"] != "5" || r.Headers["content-type"] != "" {
		t.Errorf("record %+v", r)
	}
	if st := s.Stats(); st.Received != 5 || st.Tokens != 15 {
		t.Errorf("stats %+v", st)
	}
	quiet := New(Options{NoHistory: true})
	direct(quiet, chatPath, chatJSON)
	if len(quiet.Requests()) != 0 || quiet.Stats().Completed != 1 {
		t.Errorf("without history: %v, %+v", quiet.Requests(), quiet.Stats())
	}
}

func TestControlEndpoints(t *testing.T) {
	s, url := start(t, Options{RPM: 1})
	send(t, url+chatPath, chatJSON, "tokens", "2")
	get := func(path string, into any) int {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		if into != nil && json.NewDecoder(res.Body).Decode(into) != nil {
			t.Errorf("%s: not JSON", path)
		}
		return res.StatusCode
	}
	var st Stats
	var recs []Request
	get("/sim/stats", &st)
	get("/sim/requests", &recs)
	if st != s.Stats() || st.Tokens != 2 || len(recs) != 1 || recs[0].Outcome != Completed {
		t.Errorf("stats %+v, records %+v", st, recs)
	}
	for path, want := range map[string]int{"/health": 200, "/healthz": 200, "/sim/reset": 405, "/sim/none": 404} {
		if got := get(path, nil); got != want {
			t.Errorf("%s: status %d, want %d", path, got, want)
		}
	}
	if a := send(t, url+"/sim/reset", ""); a.StatusCode != 204 {
		t.Errorf("reset: status %d", a.StatusCode)
	}
	if st := s.Stats(); st != (Stats{}) || len(s.Requests()) != 0 {
		t.Errorf("after reset: %+v", st)
	}
	if a := send(t, url+chatPath, chatJSON); a.StatusCode != 200 {
		t.Errorf("after reset: status %d", a.StatusCode)
	}
}

// TestConcurrentUse is for the race detector.
func TestConcurrentUse(t *testing.T) {
	s, url := start(t, Options{Slots: 3, Slowdown: 0.1, History: 20})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 20 {
				send(t, url+chatPath, []string{chatJSON, chatStream}[i%2], "tokens", "5", "itl", "1us")
				s.Requests()
				s.Stats()
			}
		})
	}
	wg.Wait()
	await(t, s, func(st Stats) bool { return st.Completed == 160 && st.Running == 0 && st.Waiting == 0 })
	if st := s.Stats(); st.Tokens != 800 || st.MaxRunning > 3 {
		t.Errorf("stats %+v", st)
	}
}

// BenchmarkJSON counts what one connection gets over the loopback; client and
// server share the cores.
func BenchmarkJSON(b *testing.B) {
	_, url := start(b, Options{NoHistory: true})
	addr := strings.TrimPrefix(url, "http://")
	raw := "POST " + chatPath + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 57\r\n\r\n" + chatJSON
	if len(chatJSON) != 57 {
		b.Fatal(len(chatJSON))
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		conn, err := (&net.Dialer{}).DialContext(b.Context(), "tcp", addr)
		if err != nil {
			b.Error(err)
			return
		}
		defer func() { _ = conn.Close() }()
		in := bufio.NewReader(conn)
		for pb.Next() {
			if _, err := io.WriteString(conn, raw); err != nil {
				b.Error(err)
				return
			}
			res, err := http.ReadResponse(in, nil)
			if err != nil {
				b.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, res.Body)
		}
	})
}
