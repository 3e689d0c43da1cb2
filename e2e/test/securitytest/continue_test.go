package securitytest

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

// expectations are the ways to ask for a word before the body.
var expectations = [][]string{
	{"Expect", "100-continue"},
	{"expect", "100-Continue"},
	{"Expect", "100-continue, 100-continue"},
	{"Expect", "100-continue", "Expect", "100-continue"},
}

// A client that waits for 100 Continue gets it, or is told to do without, wherever it is spelled how; and the limit holds: a server sees
// at most the headers of what is refused.
func TestAClientThatWaitsForAWordIsNotLeftWaiting(t *testing.T) {
	t.Parallel()
	server := newUpstream(t, nil)
	e := harness.Start(t, harness.Options{Upstream: server.URL})
	for _, proxied := range []bool{false, true} {
		err := e.ReplaceListeners(func(listeners []map[string]any) {
			harness.Visit(listeners, func(object map[string]any) {
				if _, ok := object["http_filters"].([]any); ok {
					object["proxy_100_continue"] = proxied
				}
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Run(fmt.Sprint("proxied ", proxied), func(t *testing.T) {
			holds(t, e, onePerDay, func(t *testing.T, hold harness.Hold) {
				for i, expect := range expectations {
					user := fmt.Sprint(t.Name(), i)
					first, second := impatient(t, e, user, expect), impatient(t, e, user, expect)
					if i >= 2 || proxied && hold == harness.HoldBufferFilter {
						if first != http.StatusExpectationFailed {
							t.Errorf("%q: %d, want 417", expect, first)
						}
						continue
					}
					if first != http.StatusOK || second != http.StatusTooManyRequests {
						t.Errorf("%q: %d, then %d; want 200, then 429", expect, first, second)
					}
					if _, served := server.saw(user); served != 1 {
						t.Errorf("%q: the server had %d whole requests, want 1", expect, served)
					}
				}
			})
		})
	}
}

// impatient sends a request's headers, waits for a word, and sends the body if it is told to.
func impatient(t *testing.T, e *harness.Envoy, user string, expect []string) int {
	t.Helper()
	r := dial(t, e)
	r.head(chatPath, user, append([]string{"Content-Length", fmt.Sprint(len(chatBody))}, expect...)...)
	_ = r.SetReadDeadline(time.Now().Add(patience))
	line, err := r.reader.ReadString('\n')
	if err != nil {
		t.Fatalf("%q: no word: %v", expect, err)
	}
	if strings.Contains(line, " 100 ") {
		if _, err := r.reader.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		r.write(chatBody)
		status, _, _ := r.response()
		return status
	}
	response, err := http.ReadResponse(bufio.NewReader(strings.NewReader(line+"\r\n")), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	return response.StatusCode
}
