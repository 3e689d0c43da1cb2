package limit

import (
	"strings"
	"testing"
)

// Before the wall, in a fleet: near is a share of the fleet's quantity, whatever is leased here, in tokens and in dollars.
func TestNearlyInAFleet(t *testing.T) {
	for _, limits := range []string{fleetLimits, fleetDollars} {
		f := newFleet(t, 2, 2, strings.Replace(limits, `"scope"`, `"nearly":{"at":0.8},"scope"`, 1))
		all := ""
		for i := range 40 {
			f.ask(f.proxies[i%2].workers[i/2%2], "u", 10, 10, second/10)
			f.run(2 * second)
			all = f.seen
		}
		early := strings.Index(all, "n")
		t.Log(all)
		// 240 of 300 are used by 24 requests; what the other proxy has leased and not used counts as used, what it has leased since this one was told doesn't.
		if early < 20 || early > 26 || strings.Count(all[early:], ".") > 1 || strings.Index(all, "x") < 30 || strings.Index(all, "x") > 32 {
			t.Errorf("%s: %s", limits, all)
		}
	}
}

// A proxy that is not told what the others use goes by what it uses itself.
func TestNearlyInAFleetWhoseServiceIsGone(t *testing.T) {
	f := newFleet(t, 1, 1, strings.Replace(fleetLimits, `"scope"`, `"nearly":{"at":0.8},"scope"`, 1))
	f.onDown = "local"
	f.restart(f.proxies[0], 1)
	f.service.down = true
	for range 31 {
		f.ask(f.proxies[0].workers[0], "u", 10, 10, second/10)
		f.run(second)
	}
	expect(t, "near", f.seen, strings.Repeat(".", 23)+strings.Repeat("n", 7)+"x")
}
