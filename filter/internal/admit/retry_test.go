package admit

import (
	"fmt"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/origin"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

// What another filter refuses, such as the fleet's limit, is answered by the proxy: clients that sleep as long as they are told are to hear what
// they would of a refusal of ours. What the upstream itself says is left as it is.
func TestAnotherFiltersRefusalSaysWhetherToRetry(t *testing.T) {
	const never = " x-should-retry:false"
	for _, test := range []struct {
		from    origin.Origin
		status  string
		headers [][2]string
		want    string
	}{
		{origin.Elsewhere, "429", [][2]string{{"retry-after", "3000"}}, never},
		{origin.Elsewhere, "429", [][2]string{{"retry-after", "61"}, {"x-ratelimit-reset", "61"}}, never},
		{origin.Elsewhere, "429", [][2]string{{"retry-after", "60"}}, ""},
		{origin.Elsewhere, "503", [][2]string{{"retry-after", "3000"}}, never},
		{origin.Elsewhere, "429", [][2]string{{"x-ratelimit-reset", "3000"}}, " retry-after:3000" + never},
		{origin.Elsewhere, "429", [][2]string{{"x-ratelimit-reset", "9"}}, " retry-after:9"},
		{origin.Elsewhere, "429", [][2]string{{"x-ratelimit-reset", "soon"}}, ""},
		{origin.Elsewhere, "429", [][2]string{{"x-ratelimit-reset", "-9"}}, ""},
		{origin.Elsewhere, "429", [][2]string{{"retry-after", "Fri, 31 Dec 1999 23:59:59 GMT"}}, ""},
		{origin.Elsewhere, "429", [][2]string{{"retry-after", "3000"}, {"x-should-retry", "true"}}, ""},
		{origin.Elsewhere, "429", nil, ""},
		{origin.Elsewhere, "200", [][2]string{{"x-ratelimit-reset", "3000"}}, ""},
		{origin.Upstream, "429", [][2]string{{"retry-after", "3000"}, {"x-ratelimit-reset", "3000"}}, ""},
	} {
		h := newHost(t, `{"requestHold":"stopIteration",`+both+`}`, recordtest.NewMemory())
		x := h.ask("alice")
		h.comes(test.from)
		got := ""
		for _, header := range x.status(test.status, "application/json", true, test.headers...).Headers {
			if header[0] == "retry-after" || header[0] == "x-should-retry" {
				got += " " + header[0] + ":" + header[1]
			}
		}
		expect(t, fmt.Sprint(test), got, test.want)
	}
}
