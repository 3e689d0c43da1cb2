package config

import "testing"

// The plugin's mode is the ceiling of every gate's and limit's.
func TestAModeIsUnderThePlugins(t *testing.T) {
	for _, test := range []struct{ plugin, own, want Mode }{
		{Enforce, Enforce, Enforce}, {Enforce, Shadow, Shadow}, {Enforce, Off, Off},
		{Shadow, Enforce, Shadow}, {Shadow, Shadow, Shadow}, {Shadow, Off, Off},
		{Off, Enforce, Off}, {Off, Shadow, Off}, {Off, Off, Off},
	} {
		if got := test.own.Under(test.plugin); got != test.want {
			t.Errorf("%s under %s is %s, want %s", test.own, test.plugin, got, test.want)
		}
	}
}
