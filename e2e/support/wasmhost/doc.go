// Package wasmhost is a strict double of Envoy's proxy-wasm host. It runs the
// compiled filter, not the filter's Go code, so that a test sees what a real
// worker would see: several VMs that share nothing but the shared data and the
// metrics, a linear memory of their own, and a host that refuses what Envoy
// refuses.
//
// A [Module] is a compiled filter. A [Host] is one Envoy process. A [VM] is one
// worker's instance of the filter, and a [Stream] is one HTTP request that
// passes through it. Time stands still until the test calls [Host.Advance], and
// nothing happens on its own: ticks, callout answers and the end of a stream are
// all brought about by the test.
//
// Where a filter does something that Envoy asserts against or reports as a bug
// (resuming a stream that isn't paused, editing the request after its answer),
// the double carries on and notes it in [Host.Violations]; a test should end with
// an empty list.
//
// Envoy also runs one VM on its main thread, which gets no streams but ticks like
// the others, besides the throw-away canary. A test that counts what VMs do in
// the background should start one more VM than it has workers.
//
// What is left out: network (TCP) filters, gRPC callouts, shared queues, foreign
// functions, metadata callbacks, trailers that the filter adds to a message that
// has none, and the memory cap of 1 GiB.
package wasmhost
