package wasmtest

import (
	"errors"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/wasmhost"
)

const configErrors = "spillway_config_errors_total;reason=invalid"

func TestAnEmptyConfigurationLetsEverythingPass(t *testing.T) {
	for name, config := range map[string]string{"nothing": "", "an empty object": "{}", "empty lists": `{"limits":[],"upstreams":[]}`} {
		t.Run(name, func(t *testing.T) {
			p, vm := start(t, stopIteration, config)
			s := request{}.ask(vm)
			check(t, "status", s.ClientStatus, "200")
			check(t, "upstream body", string(s.UpstreamBody), question)
			check(t, "client body", string(s.ClientBody), completion(76))
			check(t, "finished", s.Finished, true)
			check(t, "config errors", p.Counter(configErrors), 0)
			check(t, "quiet", p.Logged(wasmhost.LevelWarn, ""), false)
		})
	}
}

func TestABadConfigurationIsRefusedWithEveryPathInTheLog(t *testing.T) {
	cases := map[string]struct {
		config string
		paths  []string
	}{
		"many errors": {
			`{"mode":"loud","nonsense":1,"usage":{"maxRequestBytes":"big"},"identity":{"user":{"headers":[7]}},
				"limits":[{"name":"a","unit":"bytes","quantity":-1,"window":"1h"},{"unit":"requests","quantity":1,"window":"soon"}]}`,
			[]string{
				"mode: ", "nonsense: ", "usage.maxRequestBytes: ", "identity.user.headers[0]: ", "limits[0].unit: ",
				"limits[0].quantity: ", "limits[1].name: ", "limits[1].window: ",
			},
		},
		"not JSON":      {`{"limits": [`, []string{"configuration: "}},
		"not an object": {`[]`, []string{"configuration: "}},
		"garbage":       {"\x00\xff\xfe garbage", []string{"configuration: "}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			p := newProxy(t, stopIteration)
			_, err := p.StartVM(nil, []byte(c.config))
			check(t, "refused", errors.Is(err, wasmhost.ErrConfigRefused), true)
			for _, path := range c.paths {
				if !p.Logged(wasmhost.LevelCritical, "spillway: "+path) {
					t.Errorf("no critical log line for %q", path)
				}
			}
			check(t, "counted", p.Counter(configErrors), 1)
		})
	}
}

func TestABadReconfigurationLeavesTheOldConfigurationAtWork(t *testing.T) {
	p, vm := start(t, stopIteration, limitOf("requests", 2))
	before := request{user: "ann"}.open(vm)
	err := vm.Reconfigure([]byte(`{"limits":[{"name":"quota","unit":"requests","quantity":"all"}]}`))
	check(t, "refused", errors.Is(err, wasmhost.ErrConfigRefused), true)
	check(t, "path in the log", p.Logged(wasmhost.LevelCritical, "limits[0].quantity"), true)
	check(t, "counted", p.Counter(configErrors), 1)
	before.RequestBody([]byte(question), true)
	answer(before, completion(76))
	statuses(t, []*wasmhost.Stream{before, request{user: "ann"}.ask(vm), request{user: "ann"}.ask(vm)}, "200", "200", "429")
	check(t, "plugin contexts", vm.PluginContexts(), 1)
}

func TestANewConfigurationServesNewStreamsAndOldStreamsKeepTheirs(t *testing.T) {
	strict := `"match":{"models":["llama-*"]},"admission":"strict"`
	_, vm := start(t, stopIteration, limitOf("completionTokens", 10, strict))
	old, gone := request{user: "ann"}.open(vm), request{user: "ann"}.open(vm)
	check(t, "held", old.Paused(), true)
	replaced := limitOf("completionTokens", 10, strict)
	replaced = `{"statusCode":{"limits":503},` + replaced[1:]
	if err := vm.Reconfigure([]byte(replaced)); err != nil {
		t.Fatal(err)
	}
	check(t, "plugin contexts", vm.PluginContexts(), 2)
	const tooLarge = `{"model":"llama-3-8b","max_tokens":11}`
	check(t, "new", request{user: "ann", body: tooLarge}.ask(vm).ClientStatus, "503")
	old.RequestBody([]byte(tooLarge), true)
	check(t, "old", old.ClientStatus, "429")
	check(t, "plugin contexts with an old stream", vm.PluginContexts(), 2)
	gone.Done()
	check(t, "plugin contexts in the end", vm.PluginContexts(), 1)
	check(t, "stream contexts", vm.Contexts(), 0)
}

func TestBalancesOutliveAConfigurationAndAWorker(t *testing.T) {
	p, vm := start(t, stopIteration, limitOf("completionTokens", 300))
	var streams []*wasmhost.Stream
	for range 5 {
		streams = append(streams, request{user: "ann"}.ask(vm)) // 4 × 76 = 304
	}
	running := request{user: "bob"}.send(vm)
	larger := limitOf("completionTokens", 400)
	if err := vm.Reconfigure([]byte(larger)); err != nil {
		t.Fatal(err)
	}
	for range 3 { // 96 are left: one of 76 leaves 20, one more leaves a debt
		streams = append(streams, request{user: "ann"}.ask(vm))
	}
	other := p.worker(larger)
	vm.Kill()
	running.Done()
	streams = append(streams, request{user: "ann"}.ask(other))
	statuses(t, streams, "200", "200", "200", "200", "429", "200", "200", "429", "429")
}
