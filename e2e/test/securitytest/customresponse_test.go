package securitytest

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

// An answer that Envoy's custom_response filter, behind ours, fetches from elsewhere is one request, with what it replaces.
func TestACustomResponseIsOneRequest(t *testing.T) {
	t.Parallel()
	g := start(t, harness.Options{
		Config:  `{"limits":[{"name":"r","per":["user"],"unit":"requests","quantity":3,"window":"720h"}]}`,
		Filters: []any{customResponse("http://gateway/sorry" + chatPath)},
	}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if !strings.HasPrefix(r.URL.Path, "/sorry/") {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, r.Header.Get("x-body"))
			return
		}
		_, _ = io.WriteString(w, answered)
	}))
	for _, body := range []string{"", "overloaded"} {
		got := statuses(4, func(int) answer {
			return g.send(t, "POST", chatPath, hello, "x-body: "+body, fmt.Sprintf("x-user-id: ann%d", len(body)))
		})
		if got != "503 503 503 429" {
			t.Errorf("with the body %q: %s", body, got)
		}
	}
}

// customResponse is Envoy's filter that answers with another place's answer what fails.
func customResponse(place string) map[string]any {
	type object = map[string]any
	matches := object{"single_predicate": object{
		"input": object{"name": "class", "typed_config": object{
			"@type": "type.googleapis.com/envoy.type.matcher.v3.HttpResponseStatusCodeClassMatchInput",
		}},
		"value_match": object{"exact": "5xx"},
	}}
	then := object{"action": object{"name": "redirect", "typed_config": object{
		"@type": "type.googleapis.com/envoy.extensions.http.custom_response.redirect_policy.v3.RedirectPolicy", "uri": place,
	}}}
	return object{"name": "envoy.filters.http.custom_response", "typed_config": object{
		"@type": "type.googleapis.com/envoy.extensions.filters.http.custom_response.v3.CustomResponse",
		"custom_response_matcher": object{"matcher_list": object{"matchers": []any{
			object{"predicate": matches, "on_match": then},
		}}},
	}}
}
