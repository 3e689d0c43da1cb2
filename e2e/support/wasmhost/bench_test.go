package wasmhost_test

import (
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/wasmhost"
)

// BenchmarkRequest is what one request and its response cost the double.
func BenchmarkRequest(b *testing.B) {
	m, err := probe()
	if err != nil {
		b.Fatal(err)
	}
	v, err := wasmhost.NewHost(m, wasmhost.Options{}).StartVM(nil, []byte("plain"))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		s := v.NewStream()
		s.RequestHeaders([][2]string{{":method", "GET"}}, true)
		s.ResponseHeaders(okHeaders, true)
	}
}
