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
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	users          = 1000             // a limit has a bucket for each
	requestTimeout = 30 * time.Second // a stream that stops is a failure, not a pause
)

// workload is a kind of request.
type workload struct {
	name    string
	body    []byte
	tokens  int // completion tokens of an answer
	stream  bool
	request int // bytes
	answer  int
}

// workloads are those of the main tables. Both requests state what the Lua script looks for.
func (u *upstream) workloads() (unary, stream workload) {
	const text = `{"model":"llama-3","max_tokens":256,"stream":%s,"messages":[` +
		`{"role":"system","content":"You are a helpful assistant."},{"role":"user","content":"%s"}]}`
	const size = 1024
	make1K := func(stream string) []byte {
		padding := size - len(fmt.Sprintf(text, stream, ""))
		return fmt.Appendf(nil, text, stream, strings.Repeat("question ", padding)[:padding])
	}
	unary = workload{name: "JSON", body: make1K("false"), tokens: jsonTokens, answer: len(u.answer)}
	// The usage is asked for by the client, so that all variants carry the same events.
	stream = workload{name: "SSE", body: make1K(`true,"stream_options":{"include_usage":true}`), tokens: streamTokens, stream: true}
	for _, event := range u.events {
		stream.answer += len(event)
	}
	unary.request, stream.request = len(unary.body), len(stream.body)
	return unary, stream
}

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

// openLoop sends n requests, rate a second, however slowly they are answered, and returns the latency of each.
func (c *client) openLoop(ctx context.Context, w workload, rate float64, n, connections int) ([]time.Duration, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	latencies := make([]time.Duration, n)
	due := make(chan int, n) // so that the clock never waits for a connection
	times := make([]time.Time, n)
	var running sync.WaitGroup
	for connection := range connections {
		running.Go(func() {
			for i := range due {
				if err := c.do(ctx, w, connection); err != nil {
					cancel(err)
					return
				}
				latencies[i] = time.Since(times[i]) // the wait for a connection counts
			}
		})
	}
	begin := time.Now()
	for i := 0; i < n && ctx.Err() == nil; i++ {
		pause(time.Until(begin.Add(time.Duration(float64(i) / rate * float64(time.Second)))))
		times[i] = time.Now()
		due <- i
	}
	close(due)
	running.Wait()
	return latencies, context.Cause(ctx)
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
	response, err := c.http.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 1000))
		return fmt.Errorf("%s request %d was answered with status %d: %s", w.name, number, response.StatusCode, text)
	}
	if w.stream {
		return c.readStream(response.Body, connection)
	}
	size, err := io.Copy(io.Discard, response.Body)
	if err == nil && size != int64(w.answer) {
		err = fmt.Errorf("the answer has %d bytes, the upstream sent %d", size, w.answer)
	}
	return err
}

// readStream reads events, and tells the upstream of each.
func (c *client) readStream(body io.Reader, connection int) error {
	reader := bufio.NewReader(body)
	events := 0
	for {
		line, err := reader.ReadSlice('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			break
		}
		if err != nil {
			return fmt.Errorf("after %d of %d events: %w", events, streamEvents, err)
		}
		if len(line) > 1 {
			continue // the blank line after it ends an event
		}
		if events++; events >= streamEvents {
			continue
		}
		select {
		case c.upstream.received[connection] <- struct{}{}:
		default:
			return fmt.Errorf("event %d came before the upstream can have sent it", events)
		}
	}
	if events != streamEvents {
		return fmt.Errorf("the stream had %d events, the upstream sent %d", events, streamEvents)
	}
	return nil
}
