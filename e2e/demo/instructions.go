package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/check/explain"
)

// What the simulator serves.
const (
	model        = "llama-3"
	answerTokens = 76
)

// replacements are what instructions speak of.
func (s *settings) replacements() []string {
	name, kind, note, key := model, "simulator", fmt.Sprintf("An answer has %d tokens.", answerTokens), ""
	if s.upstream != (upstream{}) {
		name, kind, note = s.found.model, "server   ", ""
		if name == "" {
			name, note = "MODEL", "Put a model of your server for MODEL."
		}
		if s.upstream.tls {
			key = ` -H "authorization: Bearer $API_KEY"`
		}
	}
	return []string{
		"{gateway}", local(s.gatewayPort), "{admin}", local(s.adminPort), "{surface}", local(s.surfacePort), "{token}", s.token,
		"{exporter}", local(s.exporterPort), "{kind}", kind, "{server}", s.server(), "{note}", strings.TrimPrefix(note+" ", " "), "{key}", key,
		"{body}", `"model":"` + name + `","messages":[{"role":"user","content":"Hello"}]`,
	}
}

// instructions are what is printed once all is running: what runs, and what to try.
func (s *settings) instructions() string {
	replace := s.replacements()
	if s.fleet {
		return s.fleetInstructions(replace...)
	}
	text := whatRuns
	asks := asksForPressure(&s.chosen.config)
	switch {
	case s.exporterArgs != "":
		text += exporterRuns
	case asks:
		text += noExporter
	}
	text += "\nThe filter does what {file} says (build/spillway-check --explain {file} tells more):\n\n{explained}\n{note}In another terminal, try\n" + whatToTry
	if s.exporterArgs != "" {
		text += pressureToTry
		if asks {
			text += pressureInTheFilter
		}
	}
	text += limitToTry + "A change of {file} counts from the next start on. The dashboard's view Tuning changes values while this runs.\n" +
		"Ctrl-C stops everything. The access log follows, one line for each request.\n\n"
	replace = append(replace, "{file}", s.chosen.file, "{explained}", indent(explain.Traffic(&s.chosen.config)), "{pressure}", s.pressure(),
		"{outcome}", outcome(&s.chosen.config, s.upstream == upstream{}))
	return strings.NewReplacer(replace...).Replace(text)
}

func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n  ") + "\n"
}

// pressure says what the exporter measures.
func (s *settings) pressure() string {
	switch {
	case strings.Contains(s.exporterArgs, "--simulate"):
		return "simulated servers, as gpuexporter " + s.exporterArgs + " makes them up"
	case s.exporterArgs == ownGPUs:
		return "this machine's GPUs"
	}
	return "gpuexporter " + s.exporterArgs
}

// asksForPressure says whether the filter fetches what the exporter measures.
func asksForPressure(c *config.Config) bool {
	return slices.ContainsFunc(c.Upstreams, func(u config.Upstream) bool { return u.Pressure.Mode != config.Off })
}

// outcome is what five requests of a user get, if that can be told.
func outcome(c *config.Config, simulated bool) string {
	if !simulated || len(c.Limits) != 1 {
		return "five requests of one user"
	}
	l := &c.Limits[0]
	if l.Unit != config.CompletionTokens || l.Mode.Under(c.Mode) != config.Enforce || l.Admission != config.Lenient || len(l.Per) != 1 || l.Per[0] != config.PerUser {
		return "five requests of one user"
	}
	var statuses []string
	for i := range int64(5) {
		status := "200"
		if i*answerTokens >= l.Burst {
			status = fmt.Sprint(c.StatusCode.Limits)
		}
		statuses = append(statuses, status)
	}
	return "the limit: " + strings.Join(statuses, " ")
}

const whatRuns = `
  gateway      http://{gateway}   an OpenAI-compatible API, governed by Spillway
  {kind}    {server}
  dashboard    http://{surface}/spillway/    token, to change things: {token}
  Envoy admin  http://{admin}    metrics: /stats/prometheus
`

const exporterRuns = `  exporter     http://{exporter}    how full GPUs and inference servers are: {pressure}
`

const noExporter = `  exporter     none: there is no GPU here, and no server whose metrics it reads. So the log says that pressure is not known, which does no harm;
               GPUEXPORTER_ARGS='--simulate ramp' makes some up
`

const whatToTry = `
  # one answer
  curl -i http://{gateway}/v1/chat/completions -H 'content-type: application/json' -H 'x-user-id: alice'{key} \
    -d '{{body}}'

  # a stream
  curl -N http://{gateway}/v1/chat/completions -H 'content-type: application/json' -H 'x-user-id: bob'{key} \
    -d '{"stream":true,{body}}'

  # how all stands: docs/admin.md
  curl -s http://{surface}/spillway/status

`

const pressureToTry = `  # the pressure
  curl -s http://{exporter}/v1/pressure

`

const pressureInTheFilter = `  # what the filter makes of it
  curl -s 'http://{admin}/stats?filter=spillway_pressure'

`

const limitToTry = `  # {outcome}
  for i in 1 2 3 4 5; do
    curl -s -o /dev/null -w '%{http_code} ' http://{gateway}/v1/chat/completions \
      -H 'content-type: application/json' -H 'x-user-id: carol'{key} -d '{{body}}'
  done; echo

`
