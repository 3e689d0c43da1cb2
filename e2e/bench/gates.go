package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// ungated is the variant that those with gates are compared with: the same upstream, no gate on.
const ungated = "gates-off"

// Gates whose thresholds are so high that they refuse nothing, however the load comes.
var costlyGates = []struct {
	name, config string
	gauge        string // that shows it at work
}{
	{"breaker", `"breaker":{"mode":"enforce"}`, "spillway_breaker_state"},
	{"latency", `"latency":{"mode":"enforce","ttft":"1h","itl":"1h"}`, "spillway_gate_state;gate=latency"},
	{"throttle", `"throttle":{"mode":"enforce","qps":{"factor":100,"sigmas":10},"p99":{"factor":100,"max":"1h"}}`, "spillway_throttle_severity"},
}

// gateVariants are an upstream without a gate, with each, and with all.
func gateVariants() []*variant {
	var all, gauges []string
	list := []*variant{gated(ungated, "no gate", nil)}
	for _, g := range costlyGates {
		all, gauges = append(all, g.config), append(gauges, g.gauge)
		list = append(list, gated("gates-"+g.name, g.name, []string{g.gauge}, g.config))
	}
	return append(list, gated("gates-all", "all three", gauges, all...))
}

// gated is Spillway with an upstream that has gates. The gauges show that they are at work.
func gated(name, label string, gauges []string, gates ...string) *variant {
	parts := append([]string{`"name":"bench"`}, gates...)
	v := spillway(name, label, "", `{"upstreams":[{`+strings.Join(parts, ",")+`}]}`)
	v.check = func(counted, all counters, done work) error {
		for _, gauge := range gauges {
			if !all.has("wasmcustom." + gauge) {
				return fmt.Errorf("envoy has no gauge %s: the gate is not at work", gauge)
			}
		}
		return checkSpillway(counted, all, done)
	}
	return v
}

// has says that there is one with that prefix, whatever it is.
func (c counters) has(prefix string) bool {
	for name := range c {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// measureGates finds what each gate costs, as the rounds do it, with Envoys of its own.
func (b *bench) measureGates(ctx context.Context) error {
	defer b.stopAll()
	if err := b.startGates(ctx); err != nil {
		return err
	}
	return b.measureTurns(ctx, []turn{
		{b.unary, b.gates, b.requests, connections, 1}, {b.stream, b.gates, b.streams, connections, 1},
	}, func() error {
		b.stopAll()
		return b.startGates(ctx)
	})
}

func (b *bench) startGates(ctx context.Context) error {
	for _, v := range b.gates {
		e, err := b.startEnvoy(ctx, v, 1, connections)
		if err != nil {
			return err
		}
		b.running[v] = e
		if err := b.exercise(ctx, e, 1, connections); err != nil {
			return err
		}
	}
	return nil
}

// gatesTable has what each gate adds to a request, and to a stream.
func (b *bench) gatesTable() string {
	t := newTable("gate", "JSON, µs", "× no gate", "95 %", "stream, µs", "× no gate", "95 %")
	for _, v := range b.gates {
		cells := []string{v.label}
		for _, w := range []workload{b.unary, b.stream} {
			cpu := b.results[v].cpu[w.name]
			cells = append(cells, fmt.Sprintf("%.0f", median(cpu)))
			if v.name == ungated {
				cells = append(cells, "1", "")
				continue
			}
			relative := ratios(cpu, b.results[b.ungated()].cpu[w.name])
			low, high := interval(relative)
			cells = append(cells, fmt.Sprintf("**%.2f**", median(relative)), fmt.Sprintf("%.2f to %.2f", low, high))
		}
		t.row(cells...)
	}
	return t.String()
}

func (b *bench) ungated() *variant {
	return b.gates[slices.IndexFunc(b.gates, func(v *variant) bool { return v.name == ungated })]
}
