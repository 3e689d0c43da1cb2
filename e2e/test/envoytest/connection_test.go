package envoytest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// keepConnection checks that a client whose requests are refused, by their headers alone or by their bodies, keeps its connection: a new one for
// each would cost more than all else of a refusal.
func keepConnection(t *testing.T, g *gateway) {
	for _, unit := range []string{"requests", "completionTokens"} {
		reconfigure(t, g, `{"requestHold":"stopIteration","limits":[{"name":"kept","per":["user"],"unit":"`+unit+`","quantity":1,"window":"8760h"}]}`)
		who := "keeper-" + unit
		wantStatus(t, g.chat(t, user(who, "traceparent", who)), http.StatusOK)
		g.logged(t, who)
		connection, err := net.DialTimeout("tcp", strings.TrimPrefix(g.URL, "http://"), patience)
		if err != nil {
			t.Fatal(err)
		}
		_ = connection.SetDeadline(time.Now().Add(patience))
		// It is one connection by itself, and written to as the answers come: Go's own client opens another one where the machine was too slow for it.
		reader := bufio.NewReader(connection)
		request := fmt.Sprintf("POST %s HTTP/1.1\r\nhost: gateway\r\nx-user-id: %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s",
			chatPath, who, len(chatBody), chatBody)
		for i := range 10 {
			_, err := io.WriteString(connection, request)
			if err != nil {
				t.Fatalf("%s: refusal %d: %v", unit, i, err)
			}
			response, err := http.ReadResponse(reader, nil)
			if err != nil {
				t.Fatalf("%s: refusal %d: %v", unit, i, err)
			}
			if _, err = io.Copy(io.Discard, response.Body); err != nil || response.StatusCode != http.StatusTooManyRequests || response.Close {
				t.Errorf("%s: refusal %d: status %d, the connection is closed: %v, %v", unit, i, response.StatusCode, response.Close, err)
			}
		}
		_ = connection.Close()
	}
}
