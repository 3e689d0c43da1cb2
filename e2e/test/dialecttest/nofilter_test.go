package dialecttest

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

// What Envoy refuses before there is a request that a filter could see is in no dialect: nobody knows which API was asked. docs/reasons.md lists it.
func TestWhatEnvoyRefusesBeforeTheFilter(t *testing.T) {
	t.Parallel()
	e := harness.Start(t, harness.Options{Config: `{"limits": [{"name": "one", "unit": "requests", "quantity": 1, "window": "1h"}]}`})
	const head = "POST " + chatPath + " HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
	cases := map[string]struct { // by response.code_details
		request string
		status  int
	}{
		"http1.codec_error":         {"nonsense\r\n\r\n", http.StatusBadRequest},
		"low_version":               {"POST " + chatPath + " HTTP/1.0\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}", http.StatusUpgradeRequired},
		"missing_host_header":       {"POST " + chatPath + " HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", http.StatusBadRequest},
		"http1.headers_too_large":   {head + "x-large: " + strings.Repeat("a", 70_000) + "\r\n\r\n{}", http.StatusRequestHeaderFieldsTooLarge},
		"upgrade_failed":            {"GET /v1/realtime HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", http.StatusForbidden},
		"path_normalization_failed": {"POST /v1/%00chat HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}", http.StatusBadRequest},
	}
	for details, c := range cases {
		t.Run(details, func(t *testing.T) {
			connection, err := net.Dial("tcp", strings.TrimPrefix(e.URL, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = connection.Close() }()
			if _, err := io.WriteString(connection, c.request); err != nil {
				t.Fatal(err)
			}
			response, err := http.ReadResponse(bufio.NewReader(connection), nil)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(response.Body)
			_ = response.Body.Close()
			if response.StatusCode != c.status || response.Header.Get("x-spillway-reason") != "" {
				t.Errorf("got %d %v %s, want Envoy's own %d", response.StatusCode, response.Header, body, c.status)
			}
		})
	}
	for _, r := range e.AccessLog(len(cases)) {
		delete(cases, r.Text("status_details"))
	}
	if len(cases) > 0 {
		t.Errorf("the access log lacks %v", cases)
	}
}
