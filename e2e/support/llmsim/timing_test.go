package llmsim

import (
	"context"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// In these tests time is synctest's: it stands still except when all wait.

func TestLatency(t *testing.T) {
	for _, tc := range []struct {
		name, req string
		headers   []string
		want      time.Duration
	}{
		{"JSON", chatJSON, []string{"ttft", "200ms", "itl", "10ms", "tokens", "30"}, 500 * time.Millisecond},
		{"stream", chatStream, []string{"ttft", "200ms", "itl", "10ms", "tokens", "30"}, 490 * time.Millisecond},
		{"hang", chatStream, []string{"hang", "5s", "ttft", "1s", "tokens", "2"}, 6 * time.Second},
		{"error", chatJSON, []string{"status", "500"}, 0},
		{"late error", chatJSON, []string{"status", "500", "ttft", "3s"}, 3 * time.Second},
		{"failure", chatJSON, []string{"error-after", "3", "ttft", "1s", "itl", "1s"}, 4 * time.Second},
		{"stream failure", chatStream, []string{"error-after", "3", "ttft", "1s", "itl", "1s"}, 4 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, began := New(Options{}), time.Now()
				direct(s, chatPath, tc.req, tc.headers...)
				if got := time.Since(began); got != tc.want {
					t.Errorf("took %s, want %s", got, tc.want)
				}
				if r := s.Requests()[0]; r.Duration != tc.want {
					t.Errorf("record %+v", r)
				}
			})
		})
	}
}

func TestEmbeddingTakesTTFT(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, began := New(Options{TTFT: 30 * time.Millisecond, ITL: time.Second}), time.Now()
		direct(s, "/v1/embeddings", `{"input":"a"}`)
		if got := time.Since(began); got != 30*time.Millisecond {
			t.Errorf("took %s", got)
		}
	})
}

// locked is a recorder that can be looked at while it is written to.
type locked struct {
	*httptest.ResponseRecorder
	mu      sync.Mutex
	flushes int
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ResponseRecorder.Write(p)
}

func (l *locked) Flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flushes++
	l.ResponseRecorder.Flush()
}

func (l *locked) seen() (flushes int, body string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.flushes, l.Body.String()
}

func TestStreamSendsHeadersBeforeTheFirstToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{TTFT: time.Second, ITL: time.Second, Tokens: 3})
		w := &locked{ResponseRecorder: httptest.NewRecorder()}
		finished := make(chan struct{})
		go func() {
			defer close(finished)
			s.ServeHTTP(w, newPost(context.Background(), chatPath, chatStream))
		}()
		synctest.Wait()
		if flushes, body := w.seen(); flushes != 1 || body != "" {
			t.Errorf("flushed %d times, body %q", flushes, body)
		}
		if err := s.Await(t.Context(), func(st Stats) bool { return st.Tokens == 2 }); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if flushes, body := w.seen(); flushes != 3 || len(events(body)) != 2 {
			t.Errorf("flushed %d times, body %q", flushes, body)
		}
		<-finished
	})
}

func TestSlowdown(t *testing.T) {
	for _, req := range []string{chatJSON, chatStream} {
		synctest.Test(t, func(t *testing.T) {
			s := New(Options{TTFT: time.Second, ITL: time.Second, Tokens: 4, Slowdown: 0.5})
			var wg sync.WaitGroup
			began := time.Now()
			for range 3 {
				wg.Go(func() { direct(s, chatPath, req) })
			}
			wg.Wait()
			want := 9 * time.Second // the first token, and four that take twice as long
			if req == chatStream {
				want = 7 * time.Second // the first token comes after TTFT
			}
			if got := time.Since(began); got != want {
				t.Errorf("took %s, want %s", got, want)
			}
		})
	}
}

func TestQueueDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Slots: 2, TTFT: time.Second})
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() { direct(s, chatPath, chatJSON) })
		}
		synctest.Wait()
		if st := s.Stats(); st.Running != 2 || st.Waiting != 4 {
			t.Errorf("stats %+v", st)
		}
		wg.Wait()
		queued := map[time.Duration]int{}
		for _, r := range s.Requests() {
			queued[r.Queued]++
		}
		if queued[0] != 2 || queued[time.Second] != 2 || queued[2*time.Second] != 2 {
			t.Errorf("queued %v", queued)
		}
		if st := s.Stats(); st.Running != 0 || st.Waiting != 0 || st.MaxRunning != 2 || st.Completed != 6 {
			t.Errorf("stats %+v", st)
		}
	})
}

func TestRateLimitWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{RPM: 2})
		if a := direct(s, chatPath, chatJSON); a.Header.Get("X-Ratelimit-Remaining-Requests") != "1" {
			t.Errorf("headers %v", a.Header)
		}
		<-time.After(20*time.Second + time.Millisecond)
		direct(s, "/v1/embeddings", `{"input":"a"}`)
		a := direct(s, chatPath, chatJSON)
		if a.StatusCode != 429 || a.Header.Get("Retry-After") != "40" ||
			a.Header.Get("X-Ratelimit-Limit-Requests") != "2" || a.Header.Get("X-Ratelimit-Reset-Requests") != "39.999s" {
			t.Errorf("%d %v", a.StatusCode, a.Header)
		}
		<-time.After(40 * time.Second)
		if a := direct(s, chatPath, chatJSON); a.StatusCode != 200 {
			t.Errorf("next window: status %d", a.StatusCode)
		}
	})
}
