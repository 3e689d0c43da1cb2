package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
)

// lanes are the clients, one guidellm each, with their requests a second (Poisson), but for -times. A slow server can do about 2: the first
// two fit, and all together are twice of it.
var lanes = []struct {
	priority string
	rate     float64
}{{"urgent", 0.3}, {"normal", 0.9}, {"low", 3}}

// data are the prompts and answers: random text, and answers of exactly the length that is asked for.
const data = "kind=synthetic_text,prompt_tokens=128,prompt_tokens_stdev=32,prompt_tokens_min=32,prompt_tokens_max=256," +
	"output_tokens=96,output_tokens_stdev=32,output_tokens_min=16,output_tokens_max=200"

// request is one of a client's, and what came of it.
type request struct {
	Priority string  `json:"priority"`
	Began    float64 `json:"began"` // seconds since 1970, as all times here
	Ended    float64 `json:"ended"`
	TTFT     float64 `json:"ttft"`    // seconds; of one without a first token, how long it has waited
	Tokens   int     `json:"tokens"`  // of the answer
	Outcome  string  `json:"outcome"` // answered, refused, unfinished
}

// What becomes of a request.
const (
	answered   = "answered"
	refused    = "refused"
	unfinished = "unfinished" // when the load ended
)

// client is a running guidellm.
type client struct {
	priority, out, log string
	process            *envoyproc.Process
}

func (o *options) startClient(g *gateway, lane, round int) (*client, error) {
	l := lanes[lane]
	c := &client{priority: l.priority, out: filepath.Join(workFolder, l.priority+".json"), log: "guidellm-" + l.priority + ".log"}
	_ = os.Remove(c.out)
	var err error
	// Until it asks, vLLM has nothing to do: see pin.
	c.process, err = start(o.loadCPUs+","+o.serverCPUs, c.log, append([]string{"GUIDELLM__MAX_WORKER_PROCESSES=1"}, python...),
		filepath.Join(o.cache, "client", "bin", "guidellm"), "run",
		"--backend", fmt.Sprintf("kind=openai_http,target=%s,model=%s,extras.headers.x-priority=%s,extras.headers.x-user-id=%s-user",
			g.url, servedModel, l.priority, l.priority),
		"--tokenizer", "kind=huggingface_auto,model="+filepath.Join(o.cache, "model"),
		"--data", data,
		"--profile", fmt.Sprintf("kind=poisson,rate=%g", l.rate*o.times),
		"--seed", fmt.Sprintf("kind=static,value=%d", 100*round+lane), // the same requests with the filter off and on
		"--constraint", fmt.Sprintf("kind=max_duration,seconds=%g", o.load.Seconds()),
		"--metrics", "kind=generative,sample_size=0",
		"--output", "kind=json,path="+c.out,
		"--disable-console")
	return c, err
}

// pin waits until all ask, and then leaves vLLM's CPUs to vLLM. guidellm takes a minute of a CPU until it asks.
func (o *options) pin(ctx context.Context, clients []*client) error {
	for _, c := range clients {
		if err := c.awaitActive(ctx); err != nil {
			return err
		}
	}
	for _, c := range clients {
		group, err := exec.CommandContext(ctx, "pgrep", "--pgroup", strconv.Itoa(c.process.PID())).Output()
		if err != nil {
			return fmt.Errorf("list the processes of guidellm: %w", err)
		}
		for id := range strings.FieldsSeq(string(group)) {
			// One that has just ended needs no CPU.
			_ = exec.CommandContext(ctx, "taskset", "--all-tasks", "--cpu-list", "--pid", o.loadCPUs, id).Run()
		}
	}
	return nil
}

// awaitActive waits until guidellm says that it asks; it says so each 10 s.
func (c *client) awaitActive(ctx context.Context) error {
	for {
		log, err := os.ReadFile(filepath.Join(workFolder, c.log))
		if err != nil {
			return err
		}
		if bytes.Contains(log, []byte(": active |")) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.process.Done():
			return c.wait(ctx, time.Second)
		case <-time.After(sampleInterval):
		}
	}
}

// wait waits for the end of a client.
func (c *client) wait(ctx context.Context, limit time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(limit):
		return fmt.Errorf("guidellm of %s has not ended within %v; see %s", c.priority, limit, filepath.Join(workFolder, c.log))
	case <-c.process.Done():
	}
	if err := c.process.Err(); err != nil {
		return fmt.Errorf("guidellm of %s: %w; see %s", c.priority, err, filepath.Join(workFolder, c.log))
	}
	return nil
}

// clientReport is what matters here of what guidellm writes.
type clientReport struct {
	Benchmarks []struct {
		Start    float64 `json:"start_time"`
		End      float64 `json:"end_time"`
		Requests struct {
			Successful []clientRequest `json:"successful"`
			Errored    []clientRequest `json:"errored"`
			Incomplete []clientRequest `json:"incomplete"`
		} `json:"requests"`
	} `json:"benchmarks"`
}

type clientRequest struct {
	Info struct {
		Error   string `json:"error"`
		Timings struct {
			Start    float64 `json:"request_start"`
			First    float64 `json:"first_token_iteration"`
			End      float64 `json:"request_end"`
			Resolved float64 `json:"resolve_end"`
		} `json:"timings"`
	} `json:"info"`
	Output struct {
		Tokens int `json:"text_tokens"`
	} `json:"output_metrics"`
}

// read gives the client's requests, and from when to when it asked.
func (c *client) read() (requests []request, from, to float64, err error) {
	text, err := os.ReadFile(c.out)
	if err != nil {
		return nil, 0, 0, fmt.Errorf("guidellm of %s has left no report: %w", c.priority, err)
	}
	return parseReport(text, c.priority)
}

func parseReport(text []byte, priority string) (requests []request, from, to float64, err error) {
	var report clientReport
	if err := json.Unmarshal(text, &report); err != nil {
		return nil, 0, 0, fmt.Errorf("parse the report of guidellm: %w", err)
	}
	if len(report.Benchmarks) != 1 {
		return nil, 0, 0, fmt.Errorf("the report of guidellm has %d benchmarks, want 1", len(report.Benchmarks))
	}
	b := report.Benchmarks[0]
	for outcome, list := range map[string][]clientRequest{
		answered: b.Requests.Successful, refused: b.Requests.Errored, unfinished: b.Requests.Incomplete,
	} {
		for _, x := range list {
			t := x.Info.Timings
			if t.Start == 0 {
				continue // it was never sent
			}
			if outcome == refused && !strings.Contains(x.Info.Error, "429") && !strings.Contains(x.Info.Error, "503") {
				return nil, 0, 0, fmt.Errorf("a request of %s failed: %s", priority, x.Info.Error)
			}
			r := request{Priority: priority, Began: t.Start, Ended: max(t.End, t.Resolved), Outcome: outcome}
			r.TTFT = r.Ended - r.Began
			if t.First > 0 {
				r.TTFT = t.First - r.Began
			}
			if outcome == answered {
				r.Ended, r.Tokens = t.End, x.Output.Tokens
			}
			requests = append(requests, r)
		}
	}
	return requests, b.Start, b.End, nil
}
