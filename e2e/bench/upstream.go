package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// What a request tells the upstream: the client's connection, and which workload it is of.
const (
	connectionHeader = "x-connection"
	workloadHeader   = "x-workload"
)

// upstream is the LLM server: fixed answers, so that it takes little of the CPU that Envoy shares with it.
//
// A stream's next event is written when the client has the one before, and no sooner. So Envoy gets each by itself, as it
// would from a model that takes milliseconds for each; written in one go, a busy Envoy would read many at a time, and how
// many would be chance.
type upstream struct {
	server    *http.Server
	address   string
	workloads map[string]workload // by name
	received  []chan struct{}     // by connection: the client has an event
}

func startUpstream(connections int, workloads ...workload) (*upstream, error) {
	u := &upstream{workloads: map[string]workload{}, received: make([]chan struct{}, connections)}
	for _, w := range workloads {
		u.workloads[w.name] = w
	}
	for i := range u.received {
		u.received[i] = make(chan struct{}, 1)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start the upstream: %w", err)
	}
	u.address = listener.Addr().String()
	u.server = &http.Server{Handler: u}
	go func() { _ = u.server.Serve(listener) }()
	return u, nil
}

func (u *upstream) stop() { _ = u.server.Close() }

// ServeHTTP implements http.Handler.
func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return
	}
	load, ok := u.workloads[r.Header.Get(workloadHeader)]
	switch {
	case !ok:
		http.Error(w, workloadHeader+" is missing or unknown", http.StatusBadRequest)
	case load.stream:
		u.stream(w, r, load)
	default:
		w.Header()["Content-Type"] = []string{"application/json"}
		w.Header()["Content-Length"] = []string{strconv.Itoa(len(load.answer[0]))}
		_, _ = w.Write(load.answer[0]) // a client that has left is the load generator's to report
	}
}

func (u *upstream) stream(w http.ResponseWriter, r *http.Request, load workload) {
	connection, err := strconv.Atoi(r.Header.Get(connectionHeader))
	if err != nil || connection < 0 || connection >= len(u.received) {
		http.Error(w, connectionHeader+" is missing or unknown", http.StatusBadRequest)
		return
	}
	w.Header()["Content-Type"] = []string{"text/event-stream; charset=utf-8"}
	control := http.NewResponseController(w)
	for i, event := range load.answer {
		if _, err := w.Write(event); err != nil {
			return
		}
		if i == len(load.answer)-1 {
			return // the last event leaves with the end of the body
		}
		if control.Flush() != nil {
			return
		}
		if load.pace > 0 {
			time.Sleep(load.pace) // a client that has left is noticed by the next write
			continue
		}
		select {
		case <-u.received[connection]:
		case <-r.Context().Done():
			return
		}
	}
}
