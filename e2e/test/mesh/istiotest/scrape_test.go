//go:build mesh

package istiotest

import (
	"net/http"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/internal/promtext"
)

// scrape is what Prometheus would get at a URL.
func scrape(t *testing.T, url string) promtext.Samples {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	a, err := send(request)
	if err != nil {
		t.Fatal(err)
	}
	samples, err := promtext.Parse(strings.NewReader(a.body))
	if err != nil {
		t.Fatal(err)
	}
	return samples
}
