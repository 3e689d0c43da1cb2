package dialecttest

import (
	"context"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

// half is the form of a stream that does not go on before its client has left.
const half = "half"

func TestAClientThatLeavesAStreamAtItsHalfIsChargedHalf(t *testing.T) {
	t.Parallel()
	upstream := teller{}
	for _, s := range shapes() {
		upstream[s.name] = &s
	}
	e := start(t, replayConfig, upstream)
	for _, s := range shapes() {
		t.Run(s.name, func(t *testing.T) { leaveAtHalf(t, e, &s) })
	}
}

// leaveAtHalf hears one stream to its end, which teaches the filter how the model tells, and leaves the next.
func leaveAtHalf(t *testing.T, e *harness.Envoy, s *shape) {
	client := oneConnection(t)
	first, _, atHalf, total := s.render()
	listen(t, client, e, s, whole, -1)
	record := logged(t, e, s.name+"/"+whole, 1)
	wantText(t, record, "completion_tokens", strconv.Itoa(total))
	wantText(t, record, "usage_source", "reported")

	listen(t, client, e, s, half, len(strings.Join(first, "")))
	record = logged(t, e, s.name+"/"+half, 1)
	wantText(t, record, "usage_source", s.source)
	wantText(t, record, "request_model", s.model())
	wantText(t, record, "response_model", s.model())
	got, err := strconv.Atoi(record.Text("completion_tokens"))
	slack := max(float64(atHalf)/10, 3)
	if err != nil || math.Abs(float64(got-atHalf)) > slack {
		t.Errorf("the record has %q completion tokens, want %d ± %.0f: %v", record.Text("completion_tokens"), atHalf, slack, record)
	}
	t.Logf("%d of %d tokens had passed, %d are on record", atHalf, total, got)
}

// listen reads that many bytes of a stream and leaves; all of it if bytes is negative.
func listen(t *testing.T, client *http.Client, e *harness.Envoy, s *shape, form string, bytes int) {
	t.Helper()
	ctx, leave := context.WithTimeout(t.Context(), patience)
	defer leave()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, e.URL+s.url(), strings.NewReader(s.body()))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"Content-Type": "application/json", idHeader: s.name, formHeader: form, "traceparent": s.name + "/" + form, "x-user-id": "leaver",
	} {
		request.Header.Set(name, value)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		t.Fatalf("got status %d, want 200", response.StatusCode)
	}
	if bytes < 0 {
		_, err = io.Copy(io.Discard, response.Body)
	} else {
		_, err = io.CopyN(io.Discard, response.Body, int64(bytes))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func wantText(t *testing.T, r harness.Record, key, want string) {
	t.Helper()
	if got := r.Text(key); got != want {
		t.Errorf("the access log's %s is %q, want %q", key, got, want)
	}
}
