package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	users          = 1000             // a limit has a bucket for each
	requestTimeout = 30 * time.Second // a stream that stops is a failure, not a pause
	anyStatus      = 0
)

// client sends requests over a fixed number of connections that stay open.
type client struct {
	http     *http.Client
	upstream *upstream
	url      string
	sent     atomic.Int64
}

func newClient(u *upstream, gateway string, connections int) *client {
	return &client{
		http: &http.Client{
			Timeout:   requestTimeout,
			Transport: &http.Transport{MaxConnsPerHost: connections, MaxIdleConnsPerHost: connections, DisableCompression: true},
		},
		upstream: u,
		url:      gateway + "/v1/chat/completions",
	}
}

func (c *client) close() { c.http.CloseIdleConnections() }

// closedLoop sends n requests, each connection one after another, and returns how long that took.
func (c *client) closedLoop(ctx context.Context, w workload, n, connections int) (time.Duration, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var running sync.WaitGroup
	begin := time.Now()
	for connection := range connections {
		running.Go(func() {
			for next.Add(1) <= int64(n) && ctx.Err() == nil {
				if err := c.do(ctx, w, connection); err != nil {
					cancel(err)
				}
			}
		})
	}
	running.Wait()
	return time.Since(begin), context.Cause(ctx)
}

// timings are those of the requests of an open loop, each from when it was due.
type timings struct {
	late []time.Duration // until the load generator came to it
	sent []time.Duration // and a connection was free for it
	done []time.Duration // and it was answered
}

// openLoop sends n requests, rate a second, however slowly they are answered.
func (c *client) openLoop(ctx context.Context, w workload, rate float64, n, connections int) (timings, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	t := timings{make([]time.Duration, n), make([]time.Duration, n), make([]time.Duration, n)}
	due := make(chan int, n) // so that the clock never waits for a connection
	times := make([]time.Time, n)
	var running sync.WaitGroup
	for connection := range connections {
		running.Go(func() {
			for i := range due {
				t.sent[i] = time.Since(times[i])
				if err := c.do(ctx, w, connection); err != nil {
					cancel(err)
					return
				}
				t.done[i] = time.Since(times[i])
			}
		})
	}
	begin := time.Now()
	for i := 0; i < n && ctx.Err() == nil; i++ {
		times[i] = begin.Add(time.Duration(float64(i) / rate * float64(time.Second)))
		pause(time.Until(times[i]))
		t.late[i] = time.Since(times[i])
		due <- i
	}
	close(due)
	running.Wait()
	return t, context.Cause(ctx)
}

// do sends one request and reads its answer; anything but the whole answer is an error.
func (c *client) do(ctx context.Context, w workload, connection int) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(w.body))
	if err != nil {
		return err
	}
	number := c.sent.Add(1)
	request.Header.Set("content-type", "application/json")
	request.Header.Set("x-user-id", "user-"+strconv.FormatInt(number%users, 10))
	request.Header.Set(connectionHeader, strconv.Itoa(connection))
	request.Header.Set(workloadHeader, w.name)
	response, err := c.http.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != w.status && w.status != anyStatus {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 1000))
		return fmt.Errorf("%s request %d was answered with status %d, not %d: %s", w.name, number, response.StatusCode, w.status, text)
	}
	if w.read != nil {
		return w.read(response.Body)
	}
	if w.stream {
		return c.readStream(response.Body, connection, w)
	}
	size, err := io.Copy(io.Discard, response.Body)
	if want := len(w.answer[0]); err == nil && w.status == http.StatusOK && size != int64(want) {
		err = fmt.Errorf("the answer has %d bytes, the upstream sent %d", size, want)
	}
	return err
}

// readStream reads events, and tells the upstream of each.
func (c *client) readStream(body io.Reader, connection int, w workload) error {
	reader := bufio.NewReaderSize(body, 2*largeEvent)
	events, all := 0, len(w.answer)
	for {
		line, err := reader.ReadSlice('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			break
		}
		if err != nil {
			return fmt.Errorf("after %d of %d events: %w", events, all, err)
		}
		if len(line) > 1 {
			continue // the blank line after it ends an event
		}
		if events++; events >= all {
			continue
		}
		select {
		case c.upstream.received[connection] <- struct{}{}:
		default:
			return fmt.Errorf("event %d came before the upstream can have sent it", events)
		}
	}
	if events != all {
		return fmt.Errorf("the stream had %d events, the upstream sent %d", events, all)
	}
	return nil
}
