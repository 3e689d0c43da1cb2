package server

import (
	"bytes"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// metricsReuse is for how long the same text of metrics is given out again. Writing it takes milliseconds, most of them for
// Go's and the process's own numbers and for compression; many scrapers at once would queue for that.
const metricsReuse = 100 * time.Millisecond

// maxKept bounds the forms, by content type and encoding, in which an answer is kept.
const maxKept = 8

// reused answers with what another handler answered a moment ago.
type reused struct {
	next http.Handler
	now  func() time.Time

	asking sync.Mutex // held while the other handler answers
	kept   map[string]*answer
}

type answer struct {
	at     time.Time
	status int
	header http.Header
	body   bytes.Buffer
}

func newReused(next http.Handler, now func() time.Time) *reused {
	return &reused{next: next, now: now, kept: map[string]*answer{}}
}

func (c *reused) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a := c.ask(r)
	header := w.Header()
	for name, values := range a.header {
		header[name] = values
	}
	header.Set("Content-Length", strconv.Itoa(a.body.Len()))
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body.Bytes())
}

func (c *reused) ask(r *http.Request) *answer {
	// What the other handler's answer depends on. A HEAD is answered as a GET whose body the server drops.
	key := r.Header.Get("Accept") + "\n" + r.Header.Get("Accept-Encoding") + "\n" + r.URL.RawQuery
	c.asking.Lock()
	defer c.asking.Unlock()
	now := c.now()
	if a := c.kept[key]; a != nil && now.Sub(a.at) >= 0 && now.Sub(a.at) < metricsReuse {
		return a
	}
	a := &answer{at: now, status: http.StatusOK, header: http.Header{}}
	c.next.ServeHTTP(a, r)
	if len(c.kept) >= maxKept {
		clear(c.kept)
	}
	if a.status == http.StatusOK {
		c.kept[key] = a
	}
	return a
}

// Header, Write and WriteHeader let an answer be written to.
func (a *answer) Header() http.Header {
	return a.header
}

func (a *answer) Write(b []byte) (int, error) {
	return a.body.Write(b)
}

func (a *answer) WriteHeader(status int) {
	a.status = status
}
