package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// attempt is one attempt of a surge's client, and what came of it.
type attempt struct {
	at         time.Duration // when it was made, since the trace began
	status     int           // 0: it gave up, or the stream broke off
	first      time.Duration // to the first token
	reason     string        // of a refusal
	retryAfter time.Duration // that it was told
}

// refused says that the request did not come to the server.
func (a attempt) refused() bool { return a.reason != "" }

// inTime says that the first token came in time.
func (a attempt) inTime() bool { return a.status == http.StatusOK && a.first <= surgeTarget }

// attend sends a request, waits for the first token as long as it has patience, and reads the answer to its end.
func attend(ctx context.Context, client *http.Client, gateway string, a asked, i int) (result attempt) {
	body := `{"model":"llama-3","stream":true,"messages":[{"role":"user","content":"` + strings.Repeat(" hi", 1+a.prompt*bytesOfToken/len(" hi")) + `"}]}`
	ctx, giveUp := context.WithCancel(ctx)
	defer giveUp()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, gateway+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		return result
	}
	request.Header.Set("content-type", "application/json")
	request.Header.Set("x-priority", a.priority)
	request.Header.Set("x-user-id", "user-"+strconv.Itoa(i%10))
	request.Header.Set("x-sim-tokens", strconv.Itoa(a.tokens))
	if a.prompt > 0 || a.holds > 0 {
		request.Header.Set("x-sim-ttft", a.firstAlone().String())
	}
	began := time.Now()
	patience := time.AfterFunc(surgePatience+a.holds, giveUp)
	defer patience.Stop()
	response, err := client.Do(request)
	if err != nil {
		return result
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		_, _ = io.Copy(io.Discard, response.Body)
		result.status, result.reason = response.StatusCode, response.Header.Get("x-spillway-reason")
		milliseconds, _ := strconv.Atoi(response.Header.Get("retry-after-ms"))
		result.retryAfter = time.Duration(milliseconds) * time.Millisecond
		return result
	}
	events := bufio.NewScanner(response.Body)
	for events.Scan() {
		if result.first == 0 && hasToken(events.Text()) {
			patience.Stop()
			result.first = time.Since(began)
		}
	}
	if events.Err() == nil && result.first > 0 {
		result.status = http.StatusOK
	}
	return result
}

// bytesOfToken is how long a token of a prompt is, about.
const bytesOfToken = 4

// hasToken says that a line of a stream brings text. The first event has none: it says who speaks.
func hasToken(line string) bool {
	_, text, found := strings.Cut(line, `"content":"`)
	return found && !strings.HasPrefix(text, `"`)
}
