package admin

import (
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/config"
)

// Whatever is asked, there is one answer, with the headers that all have; nothing comes to a handler that changes something without a good token,
// and names are what stands in the path.
func FuzzRequest(f *testing.F) {
	for _, seed := range [][6]string{
		{"GET", "/spillway/status", "", "", "", ""},
		{"PATCH", "/spillway/overrides", "Bearer t", "application/json", "{}", ""},
		{"POST", "/spillway/limits/a/subjects/%22", "Bearer t", "application/json", "{", "http://h"},
		{"DELETE", "/spillway/overrides?path=%2fa", "Bearer x", "", "", "null"},
		{"GET", "/spillway/%", "bearer", "\x00", "", "://"}, {"", "/spillway?%&=&%zz=+", "", "", "", ""}, {"GET", "/spillway//", "", "", "", ""},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3], []byte(seed[4]), seed[5], int64(len(seed[4])), true)
	}
	f.Fuzz(func(t *testing.T, method, path, authorization, media string, body []byte, origin string, length int64, ended bool) {
		s, calls := newServer(config.ReadToken, "t")
		if !s.Owns(path) {
			return
		}
		a := ask(s, start, &Request{Method: method, Path: path, Authorization: authorization, ContentType: media, Body: body, Authority: "h", Origin: origin,
			Length: length, Ended: ended})
		if a.Status < 200 || a.Status > 599 {
			t.Fatalf("status %d", a.Status)
		}
		checkAnswer(t, path, a)
		if fields := strings.Fields(authorization); len(calls.calls) > 0 && !strings.HasPrefix(calls.calls[0], "page ") &&
			(len(fields) != 2 || !strings.EqualFold(fields[0], "bearer") || fields[1] != "t") {
			t.Errorf("%q came to %q", authorization, calls.calls)
		}
	})
}
