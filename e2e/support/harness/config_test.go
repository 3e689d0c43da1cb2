package harness

import "testing"

func TestPluginConfigTellsTheFilterHowEnvoyHolds(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, config string
		hold         Hold
		want         string
	}{
		{"empty", "", HoldStopIteration, `{"requestHold":"stopIteration"}`},
		{"empty object", " { } ", HoldNone, `{"requestHold":"none" }`},
		{"added first", `{"mode":"off"}`, HoldBufferFilter, `{"requestHold":"bufferFilter","mode":"off"}`},
		{"broken set-up", `{"mode":"off"}`, HoldBroken, `{"requestHold":"stopIteration","mode":"off"}`},
		{"the test's own", `{"requestHold":"none"}`, HoldStopIteration, `{"requestHold":"none"}`},
		{"not an object", `[1]`, HoldNone, `[1]`},
		{"not JSON", `{"mode":`, HoldNone, `{"mode":`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := pluginConfig(test.config, test.hold); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestTail(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		text  string
		lines int
		want  string
	}{
		{"", 2, ""},
		{"a\nb\nc\n", 2, "b\nc\n"},
		{"a\nb\n", 5, "a\nb\n"},
		{"a\nx: configured, namespace y\nb\n[3] Thread-Local Wasm created 7\n~Wasm 1 remaining active\nc\n0 remaining active", 2, "b\nc\n"},
	} {
		if got := tail(test.text, test.lines); got != test.want {
			t.Errorf("tail(%q, %d) is %q, want %q", test.text, test.lines, got, test.want)
		}
	}
}
