package main

import (
	"fmt"
	"strings"
)

// What the simulator serves.
const (
	model        = "llama-3"
	answerTokens = 76
)

// instructions are what is printed once all is running.
func (s *settings) instructions() string {
	name, server := model, "simulator"
	note := fmt.Sprintf("an answer has %d", answerTokens)
	outcome := "200 200 200 200 429"
	if s.fleet {
		outcome += " 429"
	}
	if s.upstream != "" {
		name, server = "MODEL", "server   "
		note = "put a model of your server for MODEL"
		outcome = "200 until 300 tokens are used, then 429"
	}
	pressure := "gpuexporter " + s.exporterArgs
	switch s.exporterArgs {
	case simulated:
		pressure = "three servers that fill within a minute, stay full for half of one, and recover (simulated)"
	case ownGPUs:
		pressure = "this machine's GPUs"
	}
	replace := []string{
		"{gateway}", local(s.gatewayPort), "{admin}", local(s.adminPort), "{surface}", local(s.surfacePort), "{token}", s.token,
		"{exporter}", local(s.exporterPort), "{pressure}", pressure,
		"{kind}", server, "{server}", s.server(), "{note}", note, "{outcome}", outcome,
		"{body}", `"model":"` + name + `","messages":[{"role":"user","content":"Hello"}]`,
	}
	if s.fleet {
		return s.fleetInstructions(replace...)
	}
	return strings.NewReplacer(replace...).Replace(instructionsText)
}

const instructionsText = `
  gateway      http://{gateway}   an OpenAI-compatible API, governed by Spillway
  {kind}    http://{server}
  exporter     http://{exporter}    how full GPUs and inference servers are
  dashboard    http://{surface}/spillway/    token, to change things: {token}
  Envoy admin  http://{admin}    metrics: /stats/prometheus

Each x-user-id has 300 completion tokens an hour (envoy/standalone.yaml); {note}. In another terminal, try

  # one answer
  curl -i http://{gateway}/v1/chat/completions -H 'content-type: application/json' -H 'x-user-id: alice' \
    -d '{{body}}'

  # a stream
  curl -N http://{gateway}/v1/chat/completions -H 'content-type: application/json' -H 'x-user-id: bob' \
    -d '{"stream":true,{body}}'

  # the pressure: {pressure}
  curl -s http://{exporter}/v1/pressure

  # what the filter makes of it. Its mode is shadow: nothing is refused for it, the access log tells what would be
  curl -s 'http://{admin}/stats?filter=spillway_pressure'

  # how all stands: docs/admin.md
  curl -s http://{surface}/spillway/status

  # the limit: {outcome}
  for i in 1 2 3 4 5; do
    curl -s -o /dev/null -w '%{http_code} ' http://{gateway}/v1/chat/completions \
      -H 'content-type: application/json' -H 'x-user-id: carol' -d '{{body}}'
  done; echo

Ctrl-C stops everything. The access log follows, one line for each request.

`
