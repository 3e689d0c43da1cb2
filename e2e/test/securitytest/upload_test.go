package securitytest

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

// What tests of uploads send and get.
const (
	chatBody = `{"model":"mock","max_tokens":50,"messages":[{"role":"user","content":"hello"}]}`
	answered = `{"model":"mock","choices":[{"message":{"content":"hello"}}],"usage":{"prompt_tokens":9,"completion_tokens":40,"total_tokens":49}}`
)

// upstream is a server that notes what it sees, and answers when it has all of a request.
type upstream struct {
	*httptest.Server
	mu     sync.Mutex
	begun  []string // the users whose headers came
	served []string // the users whose requests came whole
}

// newUpstream runs one until the test ends. answer, if given, answers in its place, when the request is complete.
func newUpstream(t *testing.T, answer http.HandlerFunc) *upstream {
	u := &upstream{}
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u.note(&u.begun, r)
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		u.note(&u.served, r)
		if answer != nil {
			answer(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, answered)
	}))
	t.Cleanup(u.Close)
	t.Cleanup(u.CloseClientConnections)
	return u
}

func (u *upstream) note(where *[]string, r *http.Request) {
	u.mu.Lock()
	defer u.mu.Unlock()
	*where = append(*where, r.Header.Get("X-User-Id"))
}

// saw is how many requests of a user came, and how many of these whole.
func (u *upstream) saw(user string) (begun, served int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	count := func(list []string) (n int) {
		for _, name := range list {
			if name == user {
				n++
			}
		}
		return n
	}
	return count(u.begun), count(u.served)
}

// answersButBusy answers everybody but the user "busy", whose request it keeps until its client leaves.
func answersButBusy(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("X-User-Id") == "busy" {
		<-r.Context().Done()
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, answered)
}

// configure puts a configuration into force, and sets Envoy up to hold requests as hold says.
func configure(t *testing.T, e *harness.Envoy, hold harness.Hold, config string) {
	t.Helper()
	if err := e.ReconfigureHold(hold, config); err != nil {
		t.Fatal(err)
	}
}

// holds runs a test in each way of holding requests.
func holds(t *testing.T, e *harness.Envoy, config string, test func(t *testing.T, hold harness.Hold)) {
	for _, hold := range []harness.Hold{harness.HoldStopIteration, harness.HoldBufferFilter, harness.HoldNone} {
		t.Run(string(hold), func(t *testing.T) {
			configure(t, e, hold, config)
			test(t, hold)
		})
	}
}

// raw is a connection to Envoy whose bytes the test writes itself.
type raw struct {
	t testing.TB
	net.Conn
	reader *bufio.Reader
}

// dial opens a connection to the gateway until the test ends.
func dial(t testing.TB, e *harness.Envoy) *raw {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(e.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &raw{t, conn, bufio.NewReader(conn)}
}

// write sends text as it is.
func (r *raw) write(text string) {
	r.t.Helper()
	_ = r.SetWriteDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(r.Conn, text); err != nil {
		r.t.Fatal(err)
	}
}

// head writes the request line and headers of a POST; headers are name and value in turn.
func (r *raw) head(path, user string, headers ...string) {
	r.t.Helper()
	text := "POST " + path + " HTTP/1.1\r\nHost: gateway\r\nX-User-Id: " + user + "\r\n"
	for i := 0; i < len(headers); i += 2 {
		text += headers[i] + ": " + headers[i+1] + "\r\n"
	}
	r.write(text + "\r\n")
}

// response reads an answer to its end, skipping what is only informational.
func (r *raw) response() (status int, header http.Header, body string) {
	r.t.Helper()
	_ = r.SetReadDeadline(time.Now().Add(patience))
	for {
		response, err := http.ReadResponse(r.reader, nil)
		if err != nil {
			r.t.Fatal(err)
		}
		if response.StatusCode/100 == 1 {
			continue
		}
		text, err := io.ReadAll(response.Body)
		if err != nil {
			r.t.Fatal(err)
		}
		return response.StatusCode, response.Header, string(text)
	}
}

// post sends a whole request over the gateway's client; headers are name and value in turn.
func post(t testing.TB, e *harness.Envoy, path, user, body string, headers ...string) (status int, header http.Header, text string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, e.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-User-Id", user)
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := e.Client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, response.Header, string(answer)
}

// metric is the sum of a counter or gauge over all that have these labels, as name and value in turn.
func metric(e *harness.Envoy, name string, labels ...string) (sum int) {
	for full, value := range e.Stats("wasmcustom." + name) {
		same := true
		for i := 0; i < len(labels); i += 2 {
			same = same && strings.Contains(full+";", ";"+labels[i]+"="+labels[i+1]+";")
		}
		if same {
			sum += int(value)
		}
	}
	return sum
}

// listen opens a port of this machine until the test ends.
func listen(t testing.TB) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return listener
}
