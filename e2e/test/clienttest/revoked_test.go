package clienttest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/anthropics/anthropic-sdk-go"
	anthropicoption "github.com/anthropics/anthropic-sdk-go/option"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/support/llmsim"
)

// streamer asks for a stream with an official client, with such headers, and gives its error.
type streamer func(ctx context.Context, t *testing.T, url string, headers map[string]string) string

// An official client whose stream is ended for an urgent request has an error that says so, where the stream is read, and doesn't ask again by itself.
func TestOfficialClientsAreToldThatTheirStreamWasEnded(t *testing.T) {
	t.Parallel()
	sim, address := harness.Simulate(t, "127.0.0.1", llmsim.Options{})
	e := harness.Start(t, harness.Options{Upstream: address, Config: `{"requestHold": "stopIteration", "priority": {"trust": [{}]},
		"upstreams": [{"name": "x", "concurrency": {"max": 1}, "queue": {"revoke": true}}]}`})
	for name, ask := range map[string]streamer{
		"openai-go": streamOpenAI, "openai-go, responses": streamResponses, "anthropic-sdk-go": streamAnthropic,
		"openai-python": streamPython("chat"), "openai-python, responses": streamPython("responses"), "anthropic-python": streamPython("messages"),
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			// On a machine that is busy just then the stream is cut off before there is a piece to tell in.
			for try := 1; !tellOne(ctx, t, sim, e, ask, fmt.Sprint(name, try)); try++ {
				if ctx.Err() != nil {
					t.Fatal("it was never told")
				}
			}
		})
	}
}

// tellOne has a client's stream ended, and says whether it was told.
func tellOne(ctx context.Context, t *testing.T, sim *llmsim.Server, e *harness.Envoy, ask streamer, name string) (told bool) {
	t.Helper()
	cut := func() float64 { return e.Sum("spillway_revoked_total", "status", "cut") }
	before := cut()
	if err := sim.Await(ctx, func(s llmsim.Stats) bool { return s.Running == 0 }); err != nil { // of the client before
		t.Fatal(err)
	}
	done := make(chan string, 1)
	go func() {
		done <- ask(ctx, t, e.URL, map[string]string{"x-priority": "low", "traceparent": name, "x-sim-tokens": "1000000", "x-sim-ttft": "1ms", "x-sim-itl": "5ms"}) // it doesn't end by itself
	}()
	if err := sim.Await(ctx, func(s llmsim.Stats) bool { return s.Running > 0 || len(done) > 0 }); err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, e.URL+"/v1/chat/completions", strings.NewReader(`{"model":"llama-3","messages":[]}`))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Priority", "urgent")
	response, err := e.Client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	got := <-done
	if told = strings.Contains(got, "This stream was ended to make room for an urgent request"); response.StatusCode != http.StatusOK || got == "" || !told && cut() == before {
		t.Errorf("the urgent one has the status %d, and the other client the error %q", response.StatusCode, got)
	}
	harness.Await(t, patience, "the access log has it", func() bool { return statuses(e, name) != "" })
	if all := statuses(e, name); all != "200" {
		t.Errorf("its requests were answered with %s, want one", all)
	}
	return told || t.Failed()
}

func streamOpenAI(ctx context.Context, _ *testing.T, url string, headers map[string]string) string {
	client, options := openAIStreamer(url, headers)
	stream := client.Chat.Completions.NewStreaming(ctx, chatParams(nil), options...)
	for stream.Next() {
	}
	return errorOf(stream.Err())
}

func streamResponses(ctx context.Context, _ *testing.T, url string, headers map[string]string) string {
	client, options := openAIStreamer(url, headers)
	stream := client.Responses.NewStreaming(ctx, responseParams(nil), options...)
	for stream.Next() {
	}
	return errorOf(stream.Err())
}

func openAIStreamer(url string, headers map[string]string) (openai.Client, []option.RequestOption) {
	var options []option.RequestOption
	for name, value := range headers {
		options = append(options, option.WithHeader(name, value))
	}
	return openai.NewClient(option.WithBaseURL(url+"/v1"), option.WithAPIKey("k")), options
}

func streamAnthropic(ctx context.Context, _ *testing.T, url string, headers map[string]string) string {
	client := anthropic.NewClient(anthropicoption.WithBaseURL(url), anthropicoption.WithAPIKey("k"))
	var options []anthropicoption.RequestOption
	for name, value := range headers {
		options = append(options, anthropicoption.WithHeader(name, value))
	}
	lasting := messageParams(nil)
	lasting.MaxTokens = 1_000_000
	stream := client.Messages.NewStreaming(ctx, lasting, options...)
	for stream.Next() {
	}
	return errorOf(stream.Err())
}

func errorOf(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func streamPython(what string) streamer {
	return func(ctx context.Context, t *testing.T, url string, headers map[string]string) string {
		packages, _ := harness.PythonPackages(t, "openai-python", "openai", "requirements.txt")
		if what == "messages" {
			more, _ := harness.PythonPackages(t, "anthropic-python", "anthropic", "anthropic-requirements.txt")
			packages = more + string(os.PathListSeparator) + packages
		}
		text, _ := json.Marshal(headers)
		command := exec.CommandContext(ctx, "python3", filepath.Join("testdata", "ask_revoked.py"), what, url, string(text))
		command.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "PYTHONPATH=" + packages, "PYTHONNOUSERSITE=1"}
		output, err := command.Output()
		var got string
		if err == nil {
			err = json.Unmarshal(output, &got)
		}
		if err != nil {
			return "the program failed: " + err.Error()
		}
		return got
	}
}
