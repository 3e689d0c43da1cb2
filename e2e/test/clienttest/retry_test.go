package clienttest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/anthropics/anthropic-sdk-go"
	anthropicoption "github.com/anthropics/anthropic-sdk-go/option"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/support/llmsim"
)

// Two limits of one request: a second one has to wait for longer than retry.longest, or for a time that a client sits out. That is long enough
// for two requests to come within it on a busy machine, and below the minute above which the Go clients don't do as they are told.
const retryConfig = `{"limits": [
	{"name": "hour", "per": ["user"], "unit": "requests", "quantity": 1, "window": "1h", "match": {"headers": {"x-limit": "hour"}}},
	{"name": "moment", "per": ["user"], "unit": "requests", "quantity": 1, "window": "20s", "match": {"headers": {"x-limit": "moment"}}}]}`

// asker asks twice with an official client, as it is without settings, and gives the errors.
type asker func(t *testing.T, url, user, limit string) [2]string

// Official clients try again by themselves what is refused for a short time, when it is over, and don't sleep where it is long: two of these
// would, for as long as they are told.
func TestOfficialClientsRetryAsTheyAreTold(t *testing.T) {
	t.Parallel()
	_, address := harness.Simulate(t, "127.0.0.1", llmsim.Options{})
	e := harness.Start(t, harness.Options{Config: retryConfig, Upstream: address, Concurrency: 2})
	for name, ask := range map[string]asker{
		"openai-go": askTwiceOpenAI, "anthropic-sdk-go": askTwiceAnthropic, "openai-python": askTwicePython("openai"), "anthropic-python": askTwicePython("anthropic"),
	} {
		for limit, want := range map[string]string{"hour": "200 429", "moment": "200 429 200"} {
			t.Run(name+"/"+limit, func(t *testing.T) {
				t.Parallel()
				for began, try := time.Now(), 1; ; try++ {
					user := fmt.Sprint(name, "-", limit, "-", try)
					got := ask(t, e.URL, user, limit)
					if got[0] != "" || (got[1] != "") != (limit == "hour") || limit == "hour" && !strings.Contains(got[1], "429") {
						t.Fatalf("the client has the errors %q", got)
					}
					all := ""
					harness.Await(t, patience, "the access log has the answers that the client has taken", func() bool {
						all = statuses(e, user)
						return strings.Count(all, "200") == strings.Count(want, "200") && strings.HasSuffix(all, want[len(want)-3:])
					})
					if all == want {
						return
					}
					if all != "200 200" || time.Since(began) > patience { // the moment was over before a busy machine came to the second request
						t.Fatalf("its requests were answered with %s, want %s", all, want)
					}
				}
			})
		}
	}
}

// statuses are those of all answers to a user, in their order.
func statuses(e *harness.Envoy, user string) string {
	var all []string
	for _, r := range e.AccessLog(0) {
		if r.Text("traceparent") == user {
			all = append(all, r.Text("status"))
		}
	}
	return strings.Join(all, " ")
}

func askTwiceOpenAI(t *testing.T, url, user, limit string) (errs [2]string) {
	client := openai.NewClient(option.WithBaseURL(url+"/v1"), option.WithAPIKey("k"), option.WithHeader("x-user-id", user),
		option.WithHeader("traceparent", user), option.WithHeader("x-limit", limit))
	return twice(t, func(ctx context.Context) error {
		_, err := client.Chat.Completions.New(ctx, chatParams(nil))
		return err
	})
}

func askTwiceAnthropic(t *testing.T, url, user, limit string) (errs [2]string) {
	client := anthropic.NewClient(anthropicoption.WithBaseURL(url), anthropicoption.WithAPIKey("k"), anthropicoption.WithHeader("x-user-id", user),
		anthropicoption.WithHeader("traceparent", user), anthropicoption.WithHeader("x-limit", limit))
	return twice(t, func(ctx context.Context) error {
		_, err := client.Messages.New(ctx, messageParams(nil))
		return err
	})
}

func twice(t *testing.T, ask func(context.Context) error) (errs [2]string) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for i := range errs {
		if err := ask(ctx); err != nil {
			errs[i] = err.Error()
		}
	}
	return errs
}

// askTwicePython asks with the client of that module. Anthropic's uses what OpenAI's brings.
func askTwicePython(module string) asker {
	return func(t *testing.T, url, user, limit string) (errs [2]string) {
		packages, _ := harness.PythonPackages(t, "openai-python", "openai", "requirements.txt")
		if module == "anthropic" {
			more, _ := harness.PythonPackages(t, "anthropic-python", "anthropic", "anthropic-requirements.txt")
			packages = more + string(os.PathListSeparator) + packages
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		command := exec.CommandContext(ctx, "python3", filepath.Join("testdata", "ask_twice.py"), module, url, user, limit)
		command.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "PYTHONPATH=" + packages, "PYTHONNOUSERSITE=1"}
		output, err := command.Output()
		if err == nil {
			err = json.Unmarshal(output, &errs)
		}
		if err != nil {
			var exit *exec.ExitError
			if errors.As(err, &exit) {
				err = fmt.Errorf("%w: %s", err, exit.Stderr)
			}
			t.Fatalf("ask with the Python module %s: %v", module, err)
		}
		return errs
	}
}
