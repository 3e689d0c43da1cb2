package main

import (
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/config"
)

// What is printed speaks of pressure as far as there is something that measures it, and a filter that asks for that.
func TestInstructionsTellOfPressure(t *testing.T) {
	t.Parallel()
	const none, exporter, inTheFilter = "exporter     none", "127.0.0.1:9401/v1/pressure", "stats?filter=spillway_pressure"
	for name, test := range map[string]struct {
		args, mode    string
		has, hasNever []string
	}{
		"nothing measures, the filter asks":           {"", "shadow", []string{none}, []string{exporter, inTheFilter}},
		"nothing measures, the filter does not ask":   {"", "off", nil, []string{none, exporter, inTheFilter}},
		"there is an exporter, which the filter asks": {noGPUs, "shadow", []string{exporter, inTheFilter}, []string{none}},
		"there is one, and the filter does not ask":   {noGPUs, "off", []string{exporter}, []string{none, inTheFilter}},
	} {
		cfg, err := config.Parse([]byte(`{"upstreams": [{"name": "u", "pressure": {"mode": "` + test.mode + `"}}]}`))
		if err != nil {
			t.Fatal(err)
		}
		s := settings{exporterPort: 9401, exporterArgs: test.args, upstream: upstream{address: "127.0.0.1:8000"}, found: found{model: "m"},
			chosen: chosen{file: "my.yaml", config: cfg}}
		text := s.instructions()
		for _, part := range append(test.has, "\nIn another terminal, try\n", "A change of my.yaml counts from the next start on.") {
			if !strings.Contains(text, part) {
				t.Errorf("%s: %q is missing in\n%s", name, part, text)
			}
		}
		for _, part := range test.hasNever {
			if strings.Contains(text, part) {
				t.Errorf("%s: %q stands in\n%s", name, part, text)
			}
		}
	}
	if text := (&settings{}).instructions(); !strings.Contains(text, "\nAn answer has 76 tokens. In another terminal, try\n") {
		t.Errorf("of the simulator:\n%s", text)
	}
}
