package fleettest

import (
	"io"
	"net/http"
	"os"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

// leaseExample drives config/examples/fleet.yaml as its users would, with a quantity that they can use up: a key has it in all gateways together, another
// key has its own; in shadow mode nobody is refused.
func leaseExample(f *leased) {
	text, err := os.ReadFile(harness.InRepository(f.t, "config/examples/fleet.yaml"))
	if err != nil {
		f.t.Fatal(err)
	}
	config, err := yaml.YAMLToJSON([]byte(strings.NewReplacer("quantity: 200000", "quantity: 300", "timeout: 100ms", "timeout: 10s", "window: 1h", "window: 24h").Replace(string(text))))
	if err != nil {
		f.t.Fatal(err)
	}
	f.configure(`{"admin":{"path":"/spillway"},` + string(config[1:]))
	as := func(key string) ask { return ask{header: []string{"authorization", "Bearer " + key}} }
	passed, last := 0, reply{}
	for i := range 12 {
		if last = f.send(i%2, as("one")); last.status == http.StatusOK {
			passed++
		}
	}
	if most := (limit + 2*answer) / answer; passed < 2 || passed > most {
		f.t.Errorf("%d answers of %d tokens pass a limit of %d, want at most %d", passed, answer, limit, most)
	}
	if last.status != http.StatusTooManyRequests || last.header.Get("x-spillway-reason") != "limits/tokens_exceeded" || last.header.Get("retry-after") == "" {
		f.t.Errorf("one more: %d %v %s", last.status, last.header, last.body)
	}
	if r := f.send(1, as("two")); r.status != http.StatusOK {
		f.t.Errorf("another key: %d %s", r.status, r.body)
	}
	harness.Await(f.t, patience, "the status says that the service answers", func() bool {
		r, err := f.envoys[0].Client.Get(f.envoys[0].URL + "/spillway/status")
		if err != nil {
			return false
		}
		return strings.Contains(readAll(r), `"fleet":{"state":"ANSWERS"}`)
	})
	f.configure(`{"mode":"shadow",` + string(config[1:]))
	for i := range 2 {
		if r := f.send(i, as("one")); r.status != http.StatusOK {
			f.t.Errorf("in shadow: %d %s", r.status, r.body)
		}
	}
}

func readAll(r *http.Response) string {
	defer func() { _ = r.Body.Close() }()
	text, _ := io.ReadAll(r.Body)
	return string(text)
}
