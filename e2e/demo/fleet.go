package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
	"github.com/spillway-proxy/spillway/e2e/support/harness/fleetproc"
)

// startShared starts what the Envoys of a fleet share, and waits until it serves. Redis keeps its data in memory alone, so that
// nothing is left.
func (s *settings) startShared(ctx context.Context, g *group, p fleetproc.Programs) error {
	root, err := envoyproc.Root()
	if err != nil {
		return err
	}
	ready, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	var redisLog, ratelimitLog greeting
	redis, err := fleetproc.StartRedis(ready, p.Redis, s.redis, "", &redisLog)
	redisLog.end(err)
	if err := g.add("Redis", redis, err); err != nil {
		return err
	}
	ratelimit, err := fleetproc.StartRatelimit(ready, p.Ratelimit, s.ratelimit, 0, s.redis, filepath.Join(root, "envoy"), &ratelimitLog)
	ratelimitLog.end(err)
	return g.add("ratelimit", ratelimit, err)
}

// greeting is a program's output, of which what it says of itself at its start is shown only if that went wrong.
type greeting struct {
	mu    sync.Mutex
	said  bytes.Buffer
	ended bool
}

func (g *greeting) Write(text []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended {
		return os.Stdout.Write(text)
	}
	return g.said.Write(text)
}

func (g *greeting) end(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err != nil {
		_, _ = g.said.WriteTo(os.Stdout)
	}
	g.ended = true
}

// fleetInstructions are what is printed once a fleet is running.
func (s *settings) fleetInstructions(replace ...string) string {
	outcome := "200 200 200 200 429 429"
	if s.upstream != (upstream{}) {
		outcome = "200 until 300 tokens are used, then 429"
	}
	return strings.NewReplacer(append(replace, "{outcome}", outcome,
		"{gateway2}", local(s.gateway2), "{admin2}", local(s.admin2),
		"{redis}", local(s.redis), "{ratelimit}", local(s.ratelimit),
	)...).Replace(fleetInstructionsText)
}

const fleetInstructionsText = `
  gateways     http://{gateway} and http://{gateway2}: an OpenAI-compatible API
  {kind}    {server}
  ratelimit    {ratelimit} (gRPC), which counts in Redis at {redis}
  Envoy admin  http://{admin} and http://{admin2}; metrics: /stats/prometheus

Each x-user-id has 300 completion tokens an hour over both gateways (envoy/ratelimit/config/llm.yaml). {note}
In another terminal, try

  # the limit, over one gateway and the other in turn: {outcome}
  for gateway in {gateway} {gateway2} {gateway} {gateway2} {gateway} {gateway2}; do
    curl -s -o /dev/null -w '%{http_code} ' http://$gateway/v1/chat/completions \
      -H 'content-type: application/json' -H 'x-user-id: alice' -d '{{body}}'
  done; echo

  # the same with streams
  for gateway in {gateway} {gateway2} {gateway} {gateway2} {gateway} {gateway2}; do
    curl -s -o /dev/null -w '%{http_code} ' http://$gateway/v1/chat/completions \
      -H 'content-type: application/json' -H 'x-user-id: bob' -d '{"stream":true,{body}}'
  done; echo

  # another user is not affected
  curl -i http://{gateway}/v1/chat/completions -H 'content-type: application/json' -H 'x-user-id: carol' \
    -d '{{body}}'

Ctrl-C stops everything. The access logs follow, one line for each request.

`
