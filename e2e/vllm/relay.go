package main

import (
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"time"
)

// relay stands before two vLLM, and passes all to one of them: when it turns to the other, the server has become another one, without anybody
// being told. What is under way ends where it began.
type relay struct {
	url     string
	http    *http.Server
	target  atomic.Pointer[url.URL]
	changed atomic.Int64 // when it turned, in nanoseconds since 1970; 0: it hasn't
}

func startRelay(server string) (*relay, error) {
	r := &relay{}
	if err := r.aim(server); err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r.url = "http://" + listener.Addr().String()
	r.http = &http.Server{ReadHeaderTimeout: time.Minute, Handler: &httputil.ReverseProxy{
		FlushInterval: -1, // each event by itself
		Rewrite:       func(p *httputil.ProxyRequest) { p.SetURL(r.target.Load()) },
	}}
	go func() { _ = r.http.Serve(listener) }()
	return r, nil
}

func (r *relay) aim(server string) error {
	target, err := url.Parse(server)
	if err == nil {
		r.target.Store(target)
	}
	return err
}

// turn aims at another server after a time.
func (r *relay) turn(server string, after time.Duration) (stop func() bool) {
	return time.AfterFunc(after, func() {
		if r.aim(server) == nil {
			r.changed.Store(time.Now().UnixNano())
		}
	}).Stop
}

func (r *relay) close() { _ = r.http.Close() }
