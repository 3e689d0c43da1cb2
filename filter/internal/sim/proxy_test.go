package sim

import (
	"fmt"
	"testing"
)

// Limits, estimates and gates together, with an adversary among the clients.
func TestAnAdversaryAmongTheClients(t *testing.T) {
	const seeds = 4
	for _, scene := range []ProxyScene{
		{Workers: 1, Admission: "lenient", Tokens: 20_000, Requests: 100, Slots: 16},
		{Workers: 4, Admission: "lenient", Tokens: 100_000, Requests: 1000, Slots: 500},
		{Workers: 4, Admission: "lenient", Tokens: 100_000, Requests: 1000, Slots: 500, AtOnce: 24},
		{Workers: 3, Admission: "strict", Tokens: 20_000, Requests: 300, Slots: 50},
		{Workers: 2, Admission: "strict", Tokens: 2000, Requests: 50, Slots: 50},
		{Workers: 3, Admission: "lenient", Tokens: 50_000, Requests: 200, Slots: 8, AtOnce: 32, Crash: 40 * second},
	} {
		t.Run(fmt.Sprintf("%d workers, %s, %d, %d at once", scene.Workers, scene.Admission, scene.Tokens, scene.AtOnce), func(t *testing.T) {
			most := 0
			for seed := range uint64(seeds) {
				scene.Seed, scene.Length = seed, 4*minute
				p, err := NewProxy(scene)
				if err != nil {
					t.Fatal(err)
				}
				if err := p.Run(); err != nil {
					t.Fatal(err)
				}
				if most = max(most, p.MostUnderWay); seed == 0 {
					t.Logf("passed %v, refused %v, honest ones for %v, %d at once of %d", p.Passed, p.Refused, p.Reasons, p.Most, p.mostAtOnce())
				}
			}
			if most < scene.AtOnce {
				t.Errorf("nobody had more than %d requests under way, of %d", most, scene.AtOnce)
			}
		})
	}
}
