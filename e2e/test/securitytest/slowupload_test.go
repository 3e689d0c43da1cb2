package securitytest

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

// slowUploads are requests that begin and don't end: whatever their bodies are, and however long they say they will be.
var slowUploads = []struct {
	name    string
	path    string
	headers []string
	body    string // as far as it comes
	rest    string
}{
	{"announced", chatPath, []string{"Content-Length", "79"}, chatBody[:70], chatBody[70:79]},
	{"chunked", chatPath, []string{"Transfer-Encoding", "chunked"}, "5\r\n" + chatBody[:5] + "\r\n", "4a\r\n" + chatBody[5:] + "\r\n0\r\n\r\n"},
	{"all but the last chunk", chatPath, []string{"Transfer-Encoding", "chunked"}, "4f\r\n" + chatBody + "\r\n", "0\r\n\r\n"},
	{"encoded", chatPath, []string{"Content-Length", "79", "Content-Encoding", "gzip"}, chatBody[:70], chatBody[70:79]},
	{"a form", "/v1/audio/transcriptions", []string{"Content-Length", "79", "Content-Type", "multipart/form-data; boundary=x"}, "--x\r\n" + chatBody[5:70], chatBody[70:79]},
	{"larger than what is read", chatPath, []string{"Content-Length", fmt.Sprint(2<<20 + 79)}, chatBody + strings.Repeat(" ", 2<<20-1), " "},
	{"larger, chunked", chatPath, []string{"Transfer-Encoding", "chunked"}, fmt.Sprintf("%x\r\n%s%s\r\n", 79+2<<20, chatBody, strings.Repeat(" ", 2<<20)), "0\r\n\r\n"},
	{"nothing of it", chatPath, []string{"Content-Length", "79"}, "", chatBody},
}

// As many slow uploads as there are slots, and more, don't keep an honest request waiting; nor does the upstream get the end of any of
// them before it has a slot.
func TestSlowUploadsHoldNoSlots(t *testing.T) {
	t.Parallel()
	if len(chatBody) != 79 {
		t.Fatalf("the body has %d bytes", len(chatBody))
	}
	server := newUpstream(t, answersButBusy)
	e := harness.Start(t, harness.Options{Upstream: server.URL})
	holds(t, e, `{"upstreams":[{"name":"llm","concurrency":{"max":2},"budget":{"requests":1000,"window":"1h"},"queue":{"max":8}}]}`, func(t *testing.T, hold harness.Hold) {
		uploads := make([]*raw, len(slowUploads))
		for i, u := range slowUploads {
			uploads[i] = dial(t, e)
			uploads[i].head(u.path, fmt.Sprint(hold, i), u.headers...)
			uploads[i].write(u.body)
		}
		for i := range 3 {
			if status, header, body := post(t, e, chatPath, "honest", chatBody); status != http.StatusOK {
				t.Fatalf("honest request %d: %d %v %s", i, status, header, body)
			}
		}
		// With all slots taken, none of them is served, though all are complete.
		var busy []*raw
		for range 2 {
			r := dial(t, e)
			r.head(chatPath, "busy", "Content-Length", "79")
			r.write(chatBody)
			busy = append(busy, r)
		}
		harness.Await(t, patience, "both slots are taken", func() bool { return metric(e, "spillway_inflight") == 2 })
		for i, u := range slowUploads {
			uploads[i].write(u.rest)
		}
		harness.Await(t, patience, "all of them wait", func() bool { return metric(e, "spillway_queue_depth") == len(slowUploads) })
		for i, u := range slowUploads {
			if _, served := server.saw(fmt.Sprint(hold, i)); served != 0 {
				t.Errorf("%s: the upstream had it before there was a slot", u.name)
			}
		}
		for _, r := range busy {
			_ = r.Close()
		}
		for i, u := range slowUploads {
			if status, header, body := uploads[i].response(); status != http.StatusOK {
				t.Errorf("%s: %d %v %s", u.name, status, header, body)
			}
		}
		harness.Await(t, patience, "all slots are free", func() bool { return metric(e, "spillway_inflight") == 0 })
	})
}

// A server that answers what it has not seen the end of must have a slot for it, or its answer is not passed on.
func TestAServerThatDoesNotWaitForTheEndNeedsASlot(t *testing.T) {
	t.Parallel()
	server := newEarly(t)
	e := harness.Start(t, harness.Options{Upstream: server})
	holds(t, e, `{"upstreams":[{"name":"llm","concurrency":{"max":1},"queue":{"max":8}}]}`, func(t *testing.T, hold harness.Hold) {
		if hold == harness.HoldBufferFilter {
			return // nothing of an upload gets to the server
		}
		begin := func() *raw {
			r := dial(t, e)
			r.head(chatPath, "early", "Transfer-Encoding", "chunked")
			r.write(fmt.Sprintf("%x\r\n%s%s\r\n", 79+2<<20, chatBody, strings.Repeat(" ", 2<<20)))
			return r
		}
		first := begin()
		harness.Await(t, patience, "the first has the slot", func() bool { return metric(e, "spillway_inflight") == 1 })
		if status, header, body := begin().response(); status != http.StatusTooManyRequests || header.Get("x-spillway-reason") != "queue/shed" {
			t.Errorf("the second: %d %v %s", status, header, body)
		}
		_ = first.Close()
		harness.Await(t, patience, "the slot is free", func() bool { return metric(e, "spillway_inflight") == 0 })
	})
}

// newEarly is a server that begins to answer at the first byte of a body, and goes on until the client leaves.
func newEarly(t *testing.T) (url string) {
	server := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		if _, err := io.ReadFull(r.Body, make([]byte, 1)); err != nil {
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	})}
	listener := listen(t)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return "http://" + listener.Addr().String()
}
