//go:build mesh

package gatewaytest

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

// What the two forms of a charge look like in a route.
const (
	byFilterState = "%FILTER_STATE(wasm.gen_ai.completion.tokens:PLAIN)%"
	byMetadata    = "%DYNAMIC_METADATA(FILTER_STATE:wasm.gen_ai.completion.tokens)%"
)

// The forms share a gateway, and each applies its files.
func TestEnvoyGateway(t *testing.T) {
	b := startBed(t)
	for _, form := range []struct {
		name string
		run  func(t *testing.T, b *bed)
	}{
		{"patched", patched},
		{"Lua", lua},
		{"accepted, but limits nothing", trap},
		{"another image than the one meant", wrongDigest},
		{"broken ones are refused", broken},
		{"ratelimit is gone", gone},
	} {
		t.Run(form.name, func(t *testing.T) {
			own := *b
			own.t = t
			form.run(t, &own)
		})
	}
}

// wantFour checks that the limit holds over both proxies, to the token, and returns the user for whom it did. Envoy Gateway may
// still be sending what it made of the last manifest, and ratelimit knows no limit while it takes that: a second and a third
// user are tried before it counts as broken.
func (b *bed) wantFour(user string, stream bool) string {
	b.t.Helper()
	harness.AwaitHour(b.t, 5*time.Minute)
	const tries = 3
	for try := range tries {
		who := fmt.Sprint(user, "-", try)
		got, charged := b.inTurn(6, who, stream, true), b.charged(who)
		if got == "200 200 200 200 429 429" && charged == 4*answer {
			user = who
			break
		}
		b.t.Logf("%s: got %s and Redis has %d, want 200 200 200 200 429 429 and 304", who, got, charged)
		if try == tries-1 {
			b.t.Errorf("the limit doesn't hold")
		}
	}
	if r, err := b.send(0, user+"-other", stream); err != nil || r.status != http.StatusOK {
		b.t.Errorf("another user got %d, %v", r.status, err)
	}
	return user
}

// patched is the recommended form.
func patched(t *testing.T, b *bed) {
	b.only("spillway.yaml", "limit.yaml", "patch.yaml")
	b.awaitForce(byFilterState)
	b.awaitCondition("envoypatchpolicy/spillway", "Programmed")
	user := b.wantFour("patched", false)
	b.wantFour("patched-stream", true)
	if n := b.received(user); n != 4 {
		t.Errorf("the server has seen %d requests, want the 4 that passed", n)
	}
	r, err := b.send(0, user, false)
	if err != nil || r.status != http.StatusTooManyRequests || r.header.Get("retry-after") == "" || r.header.Get("retry-after") != r.header.Get("x-ratelimit-reset") {
		t.Errorf("got %d, %v with retry-after %q, x-ratelimit-reset %q: the fleet's refusal has to say when to come back", r.status, err,
			r.header.Get("retry-after"), r.header.Get("x-ratelimit-reset"))
	}
	// What Spillway refuses is invisible, too. One proxy alone gives all that it may.
	for range 4 {
		if r, err := b.send(0, "one-proxy", false); err != nil || r.status != http.StatusOK {
			t.Fatalf("got %d, %v, want 200", r.status, err)
		}
	}
	before := b.received("one-proxy")
	r, err = b.send(0, "one-proxy", false)
	if err != nil || r.status != http.StatusTooManyRequests || r.header.Get("x-spillway-reason") != "limits/tokens_exceeded" {
		t.Errorf("got %d with the reason %q, %v, want Spillway's 429", r.status, r.header.Get("x-spillway-reason"), err)
	}
	if n := b.received("one-proxy"); n != before {
		t.Errorf("the server has seen the refused request: %d instead of %d", n, before)
	}
	// A request without the header has no counter: only the proxies' own limits hold.
	if got := b.inTurn(6, "", false, false); got != "200 200 200 200 200 200" {
		t.Errorf("without a user: got %s, want six times 200: if the fleet's limit holds now, say so", got)
	}
	b.leave("leaver")
	harness.Await(t, patience, "who leaves is charged what passed", func() bool { return b.charged("leaver") > 0 })
	// Longer than Envoy Gateway's own buffer.
	long := fmt.Sprintf(`{"model":"mock","messages":[{"role":"user","content":%q}]}`, strings.Repeat("long ", 40_000))
	if r, err := b.sendBody(1, "long", long); err != nil || r.status != http.StatusOK {
		t.Errorf("a request of %d bytes got %d, %v, want 200", len(long), r.status, err)
	}
	for i, admin := range b.admins {
		if labelled := `spillway_requests_total{decision="ALLOWED"`; !strings.Contains(get(admin+"/stats/prometheus"), labelled) {
			t.Errorf("proxy %d has no metric %s", i, labelled)
		}
		dump := get(admin + "/config_dump?resource=dynamic_listeners")
		for _, want := range []string{`"allow_on_headers_stop_iteration": true`, `"failure_policy": "FAIL_RELOAD"`} {
			if !strings.Contains(dump, want) {
				t.Errorf("proxy %d has no %s", i, want)
			}
		}
	}
}

func lua(t *testing.T, b *bed) {
	b.only("lua.yaml", "limit.yaml")
	b.awaitForce(byMetadata)
	b.awaitLua(true)
	b.wantFour("lua", false)
	b.wantFour("lua-stream", true)
	b.leave("lua-leaver")
	b.awaitLogged("lua-leaver")
	b.wantFour("lua-after-the-leaver", false)
	if got := b.charged("lua-leaver"); got != 0 {
		t.Errorf("who leaves is charged %d: if that works now, say so in lua.yaml", got)
	}
}

// awaitLogged waits until the first proxy has logged a user's request.
func (b *bed) awaitLogged(user string) {
	b.t.Helper()
	harness.Await(b.t, patience, "the access log has "+user, func() bool {
		return strings.Contains(kube.Log("proxy-0.main"), fmt.Sprintf(`"user":%q`, user))
	})
}

// leave hears the beginning of a stream of the first proxy's, and hangs up.
func (b *bed) leave(user string) {
	b.t.Helper()
	request, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, b.urls[0]+"/v1/chat/completions",
		strings.NewReader(`{"model":"mock","stream":true,"messages":[{"role":"user","content":"introduce yourself"}]}`))
	if err != nil {
		b.t.Fatal(err)
	}
	for name, value := range map[string]string{"content-type": "application/json", "x-user-id": user, "x-sim-tokens": "5000", "x-sim-itl": "2ms"} {
		request.Header.Set(name, value)
	}
	response, err := client.Do(request)
	if err != nil {
		b.t.Fatal(err)
	}
	_, err = io.CopyN(io.Discard, response.Body, 4096)
	_ = response.Body.Close()
	if err != nil {
		b.t.Fatal(err)
	}
}

// awaitLua waits until both proxies run the copying, or don't.
func (b *bed) awaitLua(want bool) {
	b.t.Helper()
	for i, admin := range b.admins {
		harness.Await(b.t, patience, fmt.Sprintf("proxy %d has the Lua filter: %v", i, want), func() bool {
			dump := get(admin + "/config_dump?resource=dynamic_listeners")
			return dump != "" && strings.Contains(dump, "envoy.filters.http.lua/") == want
		})
	}
}

// trap applies the limit alone, in both spellings: Envoy Gateway says that it is accepted, and charges nothing.
func trap(t *testing.T, b *bed) {
	for _, file := range []string{"limit.yaml", "limit-ack.yaml"} {
		b.only(file)
		unheld := strings.Replace(manifest(t, "spillway.yaml"), "requestHold: stopIteration", "requestHold: none", 1) // there is no patch
		if err := kube.Apply(unheld); err != nil {
			t.Fatal(err)
		}
		b.awaitLua(false)
		b.awaitForce(byMetadata)
		b.awaitCondition("backendtrafficpolicy/token-limit", "Accepted")
		user := "trap-" + strings.TrimSuffix(file, ".yaml")
		if got := b.inTurn(6, user, false, false); got != "200 200 200 200 200 200" {
			t.Errorf("%s: got %s, want six times 200: if this limits, the documentation is wrong", file, got)
		}
		most := 0
		if file == "limit-ack.yaml" {
			most = 6 // by default each request costs 1
		}
		if got := b.charged(user); got > most {
			t.Errorf("%s: Redis has %d, want no tokens", file, got)
		}
	}
}

// awaitCondition waits until the status of an object of ours says that a condition is true.
func (b *bed) awaitCondition(object, condition string) {
	b.t.Helper()
	path := fmt.Sprintf(`jsonpath={.status.ancestors[*].conditions[?(@.type==%q)].status}`, condition)
	harness.Await(b.t, patience, object+" is "+condition, func() bool {
		status, err := kube.Kubectl("get", object, "-n", namespace, "-o", path)
		return err == nil && status == "True"
	})
}

// wrongDigest names an image by another digest than it has: nothing passes, and the policy's status says why. With the one that was
// printed when the image was made, all is well.
func wrongDigest(t *testing.T, b *bed) {
	b.only()
	pin := func(digest string) {
		t.Helper()
		unpinned := strings.Replace(manifest(t, "spillway.yaml"), "requestHold: stopIteration", "requestHold: none", 1)
		if err := kube.Apply(strings.Replace(unpinned, "        image:\n", "        image:\n          sha256: '"+digest+"'\n", 1)); err != nil {
			t.Fatal(err)
		}
	}
	becomes := func(status int) {
		t.Helper()
		harness.Await(t, patience, fmt.Sprint("a request gets ", status), func() bool {
			r, err := b.send(0, "digest", false)
			return err == nil && r.status == status
		})
	}
	wrong := strings.Repeat("0", 64)
	pin(wrong)
	harness.Await(t, patience, "the policy's status has the digest", func() bool {
		status, err := kube.Kubectl("get", "envoyextensionpolicy/spillway", "-n", namespace, "-o", "jsonpath={.status.ancestors[*].conditions}")
		return err == nil && strings.Contains(status, wrong) && strings.Contains(status, `"status":"False"`)
	})
	becomes(http.StatusInternalServerError)
	printed := regexp.MustCompile(`@sha256:([0-9a-f]{64})`).FindStringSubmatch(kube.Log("registry"))
	if printed == nil {
		t.Fatalf("no digest was printed: %s", kube.Log("registry"))
	}
	pin(printed[1])
	becomes(http.StatusOK)
}

// broken changes one thing each.
func broken(t *testing.T, b *bed) {
	for _, test := range []struct{ name, file, old, new, want string }{
		{"a source of costs that isn't there", "limit.yaml", "              from: Metadata\n", "              from: FilterState\n", "FilterState"},
		{"a unit that isn't there", "limit.yaml", "unit: Hour", "unit: Fortnight", "Fortnight"},
		{"an image without its name", "spillway.yaml", "          url: " + registry, "          uri: " + registry, "uri"},
		{"a source of code that isn't there", "spillway.yaml", "type: Image", "type: Local", "Local"},
		{"a patch of another kind", "patch.yaml", "type: JSONPatch", "type: MergePatch", "MergePatch"},
	} {
		text := manifest(t, test.file)
		changed := strings.Replace(text, test.old, test.new, 1)
		if changed == text {
			t.Fatalf("%s: %s has no %q", test.name, test.file, test.old)
		}
		changed = regexp.MustCompile(`(?m)^  name: .*$`).ReplaceAllString(changed, "  name: broken") // what isn't there yet is checked whole
		_, err := kube.KubectlInput(changed, "create", "--dry-run=server", "-f", "-")
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want one that names %q", test.name, err, test.want)
		}
	}
}

// gone stops ratelimit, for good: requests pass as far as each proxy's own limit lets them.
func gone(t *testing.T, b *bed) {
	b.only("spillway.yaml", "limit.yaml", "patch.yaml")
	b.awaitForce(byFilterState)
	b.ratelimit.Stop(5 * time.Second)
	if got := b.inTurn(9, "gone", false, false); got != "200 200 200 200 200 200 200 200 429" {
		t.Errorf("got %s, want four times 200 of each proxy, and 429", got)
	}
}
