package securitytest

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

// Whatever a client does while its request waits, it leaves no slot taken and no place in the queue, and the next one is served.
func TestOddClientsInTheQueueLeaveNothing(t *testing.T) {
	t.Parallel()
	server := newUpstream(t, answersButBusy)
	e := harness.Start(t, harness.Options{Upstream: server.URL})
	length := fmt.Sprint(len(chatBody))
	request := "POST " + chatPath + " HTTP/1.1\r\nHost: gateway\r\nContent-Length: " + length + "\r\n\r\n" + chatBody
	odd := []struct {
		name   string
		text   string
		then   func(r *raw)
		served int // how many answers of 200 there are in the end
	}{
		{"two in one", request + request, func(*raw) {}, 2},
		{"an empty body", "POST " + chatPath + " HTTP/1.1\r\nHost: gateway\r\nContent-Length: 0\r\n\r\n", func(*raw) {}, 1},
		{"an empty body in chunks", "POST " + chatPath + " HTTP/1.1\r\nHost: gateway\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", func(*raw) {}, 1},
		{"garbage behind it", request, func(r *raw) { _, _ = io.WriteString(r.Conn, "\x00\xffgarbage\r\n\r\n") }, -1},
		{"half closed", request, func(r *raw) { _ = r.Conn.(*net.TCPConn).CloseWrite() }, -1},
		{"reset", request, func(r *raw) { _ = r.Conn.(*net.TCPConn).SetLinger(0); _ = r.Close() }, 0},
	}
	holds(t, e, `{"upstreams":[{"name":"llm","concurrency":{"max":1}}]}`, func(t *testing.T, _ harness.Hold) {
		for _, client := range odd {
			busy := dial(t, e)
			busy.head(chatPath, "busy", "Content-Length", length)
			busy.write(chatBody)
			harness.Await(t, patience, "the slot is taken", func() bool { return metric(e, "spillway_inflight") == 1 })
			r := dial(t, e)
			r.write(client.text)
			harness.Await(t, patience, client.name+": it waits", func() bool { return metric(e, "spillway_queue_depth") == 1 })
			client.then(r)
			_ = busy.Close()
			for range client.served {
				if status, header, body := r.response(); status != http.StatusOK {
					t.Errorf("%s: %d %v %s", client.name, status, header, body)
				}
			}
			if status, _, body := post(t, e, chatPath, "honest", chatBody); status != http.StatusOK {
				t.Errorf("after %s: %d %s", client.name, status, body)
			}
			harness.Await(t, patience, "after "+client.name+" nothing is left", func() bool {
				return metric(e, "spillway_inflight") == 0 && metric(e, "spillway_queue_depth") == 0
			})
		}
		t.Run("trailers", func(t *testing.T) { trailers(t, e) })
	})
}

// trailers sends a request over HTTP/2 that ends in trailers, while the slot is taken.
func trailers(t *testing.T, e *harness.Envoy) {
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	busy := dial(t, e)
	busy.head(chatPath, "busy", "Content-Length", fmt.Sprint(len(chatBody)))
	busy.write(chatBody)
	harness.Await(t, patience, "the slot is taken", func() bool { return metric(e, "spillway_inflight") == 1 })
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, e.URL+chatPath, io.MultiReader(strings.NewReader(chatBody)))
	if err != nil {
		t.Fatal(err)
	}
	request.Trailer = http.Header{"X-End": {"yes"}}
	done := make(chan error, 1)
	go func() {
		response, err := (&http.Client{Transport: transport}).Do(request)
		if err == nil {
			_ = response.Body.Close()
			if response.StatusCode != http.StatusOK {
				err = fmt.Errorf("status %d", response.StatusCode)
			}
		}
		done <- err
	}()
	harness.Await(t, patience, "it waits", func() bool { return metric(e, "spillway_queue_depth") == 1 })
	_ = busy.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	harness.Await(t, patience, "nothing is left", func() bool { return metric(e, "spillway_inflight") == 0 })
}
