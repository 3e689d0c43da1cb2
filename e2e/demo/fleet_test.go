package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

// What it prints works over both gateways, and Ctrl-C leaves nothing behind.
func TestRunFleetServesUntilInterrupted(t *testing.T) {
	t.Parallel()
	ports, temporary := harness.FreePorts(t, 8), t.TempDir()
	env := []string{"TMPDIR=" + temporary, "UPSTREAM=", "GPUEXPORTER_ARGS="}
	for i, name := range []string{"GATEWAY_PORT", "GATEWAY2_PORT", "ENVOY_ADMIN_PORT", "ENVOY2_ADMIN_PORT", "SIM_PORT", "GPUEXPORTER_PORT", "REDIS_PORT", "RATELIMIT_PORT"} {
		env = append(env, fmt.Sprint(name, "=", ports[i]))
	}
	s := startWith(t, []string{"-fleet"}, env...)
	output := s.await(t, "Ctrl-C stops everything")

	if strings.Contains(output, "Redis version=") {
		t.Errorf("it repeats Redis's greeting:\n%s", output)
	}
	harness.AwaitHour(t, 5*time.Minute)
	for _, loop := range loops(t, output) {
		for _, admin := range loop.admins {
			harness.Await(t, startTimeout, "ratelimit is healthy", func() bool { return stat(t, admin, "cluster.ratelimit.membership_healthy") == 1 })
		}
		for began, user := time.Now(), loop.user; ; loop.user += "-again" {
			failed := loop.failed(t)
			got := loop.try(t)
			if got == "200 200 200 200 429 429" {
				break
			}
			if loop.failed(t) == failed || time.Since(began) > startTimeout { // else ratelimit was too slow on a busy machine, for which requests pass
				t.Fatalf("%s: got %s, want 200 200 200 200 429 429", user, got)
			}
		}
	}
	s.await(t, `"reason":"fleet_exceeded"`) // the access log

	if err := s.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	s.await(t, "stopping")
	if err := s.Wait(); err != nil {
		t.Errorf("after Ctrl-C it ended with %v, want exit status 0; it said: %s", err, s.stderr)
	}
	if at := slices.IndexFunc(ports, listening); at >= 0 {
		t.Errorf("something still listens on port %d", ports[at])
	}
	if left, _ := os.ReadDir(temporary); len(left) > 0 {
		t.Errorf("it left %v behind", left)
	}
}

// loop is what the instructions print as a loop over the gateways.
type loop struct {
	gateways   []string
	user, body string
	admins     map[string]string // by gateway
}

func loops(t *testing.T, instructions string) (all []loop) {
	t.Helper()
	pattern := regexp.MustCompile(`(?s)for gateway in ([^;]*);.*?x-user-id: (\w+)' -d '(.*?)'\n`)
	admins := regexp.MustCompile(`Envoy admin  (http://\S+) and (http://[^;]+)`).FindStringSubmatch(instructions)
	for _, match := range pattern.FindAllStringSubmatch(instructions, -1) {
		gateways := strings.Fields(match[1])
		all = append(all, loop{gateways, match[2], match[3], map[string]string{gateways[0]: admins[1], gateways[1]: admins[2]}})
	}
	if len(all) != 2 {
		t.Fatalf("%d loops, want 2, in %s", len(all), instructions)
	}
	return all
}

// try does what the loop says, and returns the statuses. It waits for the charge of each answer, which comes a moment after it:
// the loop's curl takes longer to start.
func (l loop) try(t *testing.T) string {
	t.Helper()
	var statuses []string
	for _, gateway := range l.gateways {
		before, failed := l.asked(t, gateway), l.failed(t)
		request, err := http.NewRequest(http.MethodPost, "http://"+gateway+"/v1/chat/completions", strings.NewReader(l.body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("content-type", "application/json")
		request.Header.Set("x-user-id", l.user)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		statuses = append(statuses, fmt.Sprint(response.StatusCode))
		harness.Await(t, startTimeout, "the answer is charged", func() bool {
			return response.StatusCode != http.StatusOK || l.asked(t, gateway) >= before+2 || l.failed(t) > failed // one was the check
		})
	}
	return strings.Join(statuses, " ")
}

// failed is how often ratelimit gave no answer, at all gateways.
func (l loop) failed(t *testing.T) (n int) {
	t.Helper()
	for _, admin := range l.admins {
		n += stat(t, admin, "cluster.llm.ratelimit.error")
	}
	return n
}

// asked is how often a gateway has asked ratelimit.
func (l loop) asked(t *testing.T, gateway string) int {
	t.Helper()
	return stat(t, l.admins[gateway], "cluster.ratelimit.upstream_rq_completed")
}

func stat(t *testing.T, admin, name string) (n int) {
	t.Helper()
	_, _ = fmt.Sscanf(look(t, admin+"/stats?filter=^"+name+"$"), name+": %d", &n)
	return n
}

// A Redis that can't run ends it before Envoy is started, with Redis's own words.
func TestRunFleetEndsWhenRedisDoes(t *testing.T) {
	t.Parallel()
	redis := filepath.Join(t.TempDir(), "redis-server")
	if err := os.WriteFile(redis, []byte("#!/bin/sh\necho out of order\nexit 3\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	ports := harness.FreePorts(t, 7)
	env := []string{"UPSTREAM=127.0.0.1:9", "GPUEXPORTER_ARGS=", "REDIS_SERVER=" + redis}
	for i, name := range []string{"GATEWAY_PORT", "GATEWAY2_PORT", "ENVOY_ADMIN_PORT", "ENVOY2_ADMIN_PORT", "GPUEXPORTER_PORT", "REDIS_PORT", "RATELIMIT_PORT"} {
		env = append(env, fmt.Sprint(name, "=", ports[i]))
	}
	s := startWith(t, []string{"-fleet"}, env...)
	s.await(t, "out of order")
	if err := s.Wait(); err == nil {
		t.Error("it ended with exit status 0")
	}
	if want := "await Redis: it ended before it was ready (exit status 3)"; !strings.Contains(s.stderr.String(), want) {
		t.Errorf("it said %q, want %q in it", s.stderr, want)
	}
}
