package main

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func knownTraces(t *testing.T) []trace {
	t.Helper()
	list, err := allTraces(filepath.Join("..", "..", "filter", "internal", "autosize", "testdata"))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestTheTracesAreTheSameEachTime(t *testing.T) {
	t.Parallel()
	list, again := knownTraces(t), knownTraces(t)
	for i, tr := range list {
		if !slices.Equal(tr.asked, again[i].asked) {
			t.Errorf("%s: two differ", tr.name)
		}
		sent, rest, long, work := 0, 0, 0, time.Duration(0)
		for j, a := range tr.asked {
			if a.due < 0 || a.due >= tr.length || j > 0 && a.due < tr.asked[j-1].due || a.tokens < 1 {
				t.Fatalf("%s: %+v", tr.name, a)
			}
			if a.direct {
				rest++
				continue
			}
			sent++
			work += a.firstAlone() + time.Duration(a.tokens)*surgeToken
			if a.prompt >= longWords/2 {
				long++
			}
		}
		load := work.Seconds() * (1 + surgeSlowdown*surgeSlots/2) / (surgeSlots * tr.length.Seconds())
		t.Logf("%s: %d requests, %d past the filter, %d long ones, load about %.2f", tr.name, sent, rest, long, load)
		if sent < 300 || load < 0.3 || load > 1.5 {
			t.Errorf("%s: %d requests, load %.2f of what the server can do", tr.name, sent, load)
		}
		if wants := strings.HasPrefix(tr.name, "noisy neighbour") || tr.name == "half of the slots are gone for a third of the time"; wants != (rest > 0) {
			t.Errorf("%s: %d past the filter", tr.name, rest)
		}
	}
	if _, err := (&bench{root: filepath.Join("..", "..")}).traces("surge, nonsense"); err == nil {
		t.Error("there is a trace that is nonsense")
	}
	if some, err := (&bench{root: filepath.Join("..", "..")}).traces("slow ramp, surge"); err != nil || len(some) != 2 || some[0].name != "slow ramp" {
		t.Errorf("%v, %v", some, err)
	}
}

// What comes to the server past the filter is sent there, and isn't judged.
func TestWhatGoesPastTheFilterIsNotJudged(t *testing.T) {
	t.Parallel()
	var gateway, server atomic.Int64
	count := func(n *atomic.Int64) *httptest.Server {
		return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n.Add(1)
			if r.Header.Get("x-sim-ttft") != "20.2ms" {
				t.Errorf("told to take %q", r.Header.Get("x-sim-ttft"))
			}
			_, _ = w.Write([]byte("data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n"))
		}))
	}
	g, s := count(&gateway), count(&server)
	defer g.Close()
	defer s.Close()
	stories := replay(t.Context(), g.URL, s.URL, []asked{{prompt: 10, priority: "low", tokens: 1}, {prompt: 10, direct: true, tokens: 1}, {prompt: 10, priority: "low", tokens: 1}})
	if len(stories) != 2 || gateway.Load() != 2 || server.Load() != 1 || stories[0].attempts[0].status != http.StatusOK || stories[0].attempts[0].first <= 0 {
		t.Errorf("%+v; %d by the gateway, %d past it", stories, gateway.Load(), server.Load())
	}
}
