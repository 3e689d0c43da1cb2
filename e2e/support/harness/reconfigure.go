package harness

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
)

const (
	statUpdated  = "listener_manager.lds.update_success"
	statRejected = "listener_manager.lds.update_rejected"
)

// Reconfigure replaces the filter's configuration while Envoy runs, and waits until Envoy has taken or refused it. A
// refusal is returned as an error with Envoy's log lines about it; the configuration before stays in force.
//
// After a success every new connection is under the new configuration; those open before are drained, and Client lets go
// of its own. A stream that still runs goes on under the old one, for Options.DrainTime.
func (e *Envoy) Reconfigure(config string) error {
	e.t.Helper()
	return e.ReplaceListeners(func(listeners []map[string]any) {
		setPluginConfig(e.t.Fatalf, listeners, pluginConfig(config, e.hold))
	})
}

// ReconfigureHold is Reconfigure for an Envoy that from now on holds requests in another way.
func (e *Envoy) ReconfigureHold(hold Hold, config string) error {
	e.t.Helper()
	e.hold = hold
	return e.ReplaceListeners(func(listeners []map[string]any) {
		setPluginConfig(e.t.Fatalf, listeners, pluginConfig(config, hold))
		Visit(listeners, func(object map[string]any) {
			if object["name"] == envoyproc.WasmFilter && object["configuration"] != nil {
				object["allow_on_headers_stop_iteration"] = hold == HoldStopIteration
			}
			if filters, ok := object["http_filters"].([]any); ok {
				object["http_filters"] = withBuffer(filters, hold == HoldBufferFilter)
			}
		})
	})
}

// withBuffer gives the filters with Envoy's buffer filter after ours, or without it.
func withBuffer(filters []any, wanted bool) []any {
	buffer := BufferFilter()
	named := func(name any) func(any) bool {
		return func(filter any) bool { return filter.(map[string]any)["name"] == name }
	}
	filters = slices.DeleteFunc(slices.Clone(filters), named(buffer["name"]))
	if !wanted {
		return filters
	}
	return slices.Insert(filters, slices.IndexFunc(filters, named(envoyproc.WasmFilter))+1, any(buffer))
}

// ReplaceListeners is Reconfigure for any change of the listeners.
func (e *Envoy) ReplaceListeners(change func(listeners []map[string]any)) error {
	e.t.Helper()
	before := e.listeners
	e.listeners = deepCopy(before)
	change(e.listeners)

	logged, updated, rejected := len(e.Logs()), e.stat(statUpdated), e.stat(statRejected)
	e.writeListeners()
	Await(e.t, Patience, "Envoy takes or refuses its new listeners", func() bool {
		return e.stat(statUpdated) > updated || e.stat(statRejected) > rejected
	})
	if e.stat(statRejected) > rejected {
		e.listeners = before
		return fmt.Errorf("the configuration was refused by Envoy:\n%s", e.rejection(logged))
	}
	e.Client.CloseIdleConnections()
	// Envoy counts a success before its workers have switched; it removes the old listener on the workers, so when none
	// is left to drain they have. A test that asked for a long drain has streams to watch, and is not kept waiting.
	if e.drain <= 2*time.Second {
		Await(e.t, Patience, "the old listeners are drained", func() bool {
			return e.stat("listener_manager.total_filter_chains_draining") == 0 &&
				e.stat("listener_manager.total_listeners_draining") == 0 &&
				e.stat("listener_manager.total_listeners_warming") == 0
		})
	}
	return nil
}

func (e *Envoy) writeListeners() {
	e.t.Helper()
	e.version++
	text, err := envoyproc.Resources(strconv.Itoa(e.version), e.listeners)
	if err != nil {
		e.t.Fatal(err)
	}
	e.write("lds.json", text)
}

// refusalLine marks what Envoy and the filter log about a refused configuration.
var refusalLine = regexp.MustCompile(`\[(warning|error|critical)\]`)

// rejection returns the log lines about a refusal, from an offset of the log on.
func (e *Envoy) rejection(from int) string {
	var lines []string
	for line := range strings.Lines(e.Logs()[from:]) {
		if len(lines) > 0 && !strings.HasPrefix(line, "[") || refusalLine.MatchString(line) {
			lines = append(lines, line) // with the lines that continue one
		}
	}
	return strings.Join(lines, "")
}

func setPluginConfig(fatalf func(string, ...any), listeners []map[string]any, config string) {
	found := false
	Visit(listeners, func(object map[string]any) {
		if object["name"] != envoyproc.WasmFilter {
			return
		}
		if _, ok := object["configuration"]; ok {
			object["configuration"], found = envoyproc.Text(config), true
		}
	})
	if !found {
		fatalf("no listener has the filter %q: nothing to reconfigure", envoyproc.WasmFilter)
	}
}

// Visit calls f with every object inside node.
func Visit(node any, f func(map[string]any)) {
	switch node := node.(type) {
	case map[string]any:
		f(node)
		for _, value := range node {
			Visit(value, f)
		}
	case []any:
		for _, value := range node {
			Visit(value, f)
		}
	case []map[string]any:
		for _, value := range node {
			Visit(value, f)
		}
	}
}

func deepCopy(listeners []map[string]any) (copied []map[string]any) {
	text, err := json.Marshal(listeners)
	if err == nil {
		err = json.Unmarshal(text, &copied)
	}
	if err != nil {
		panic(err) // they came from JSON
	}
	return copied
}
