package main

import (
	"errors"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"
)

func headers(*stream) types.Action {
	v, err := proxywasm.GetHttpRequestHeader("X-Twice")
	logf("first %s %v", v, err)
	all, err := proxywasm.GetHttpRequestHeaders()
	logf("all %v %v", all, err)
	_, err = proxywasm.GetHttpRequestHeader("x-none")
	logf("absent: %v", err)
	_, err = proxywasm.GetHttpResponseHeader(":status")
	logf("response headers too early: %v", err)
	must(proxywasm.ReplaceHttpRequestHeader("x-twice", "once"))
	must(proxywasm.RemoveHttpRequestHeader("x-secret"))
	must(proxywasm.AddHttpRequestHeader("X-New", "n"))
	return types.ActionContinue
}

func properties(*stream) types.Action {
	v, err := proxywasm.GetProperty([]string{"source", "address"})
	logf("source %s %v", v, err)
	v, err = proxywasm.GetProperty([]string{"request", "protocol"})
	logf("protocol %s %v", v, err)
	_, err = proxywasm.GetProperty([]string{"connection", "no_such"})
	logf("no such: %v", err)
	must(proxywasm.SetProperty([]string{"a"}, []byte("1")))
	must(proxywasm.SetProperty([]string{"metadata", "b"}, []byte("2")))
	v, err = proxywasm.GetProperty([]string{"a"})
	logf("read back %s %v", v, err)
	v, err = proxywasm.GetProperty([]string{"plugin_name"})
	logf("plugin name %s %v", v, err)
	return types.ActionContinue
}

func shared(*stream) types.Action {
	_, _, err := proxywasm.GetSharedData("k")
	logf("get absent: %v", err)
	logf("create with cas 99: %v", proxywasm.SetSharedData("k", []byte("v1"), 99))
	v, cas, err := proxywasm.GetSharedData("k")
	logf("get %s %v", v, err)
	logf("wrong cas: %v", proxywasm.SetSharedData("k", []byte("v2"), cas+1000))
	logf("right cas: %v", proxywasm.SetSharedData("k", []byte("v3"), cas))
	logf("old cas: %v", proxywasm.SetSharedData("k", []byte("v4"), cas))
	logf("cas 0: %v", proxywasm.SetSharedData("k", []byte("v5"), 0))
	return types.ActionContinue
}

func metrics(*stream) types.Action {
	a, b := proxywasm.DefineCounterMetric("c"), proxywasm.DefineCounterMetric("c")
	a.Increment(2)
	b.Increment(3)
	logf("counter ids differ: %v, value %d", a != b, a.Value())
	logf("increment 0: %v", caught(func() { a.Increment(0) }))
	g := proxywasm.DefineGaugeMetric("g")
	g.Add(5)
	g.Add(-7)
	logf("gauge %d", g.Value())
	h := proxywasm.DefineHistogramMetric("h")
	h.Record(10)
	h.Record(20)
	logf("histogram value: %v", caught(func() { h.Value() }))
	logf("unknown counter: %v", caught(func() { proxywasm.MetricCounter(4000).Increment(1) }))
	_, err := proxywasm.RegisterSharedQueue("q")
	logf("queue: %v", err)
	logf("done now: %v", caught(proxywasm.PluginDone))
	return types.ActionContinue
}

// caught runs f and returns what it panicked with.
func caught(f func()) (reason any) {
	defer func() { reason = recover() }()
	f()
	return nil
}

var sink [][]byte

// garbage makes the collector run several times within one callback.
func garbage(*stream) types.Action {
	for range 400 {
		sink = append(sink, make([]byte, 256<<10))
		if len(sink) > 8 {
			sink = nil
		}
	}
	sink = nil
	return types.ActionContinue
}

func callout(s *stream) types.Action {
	got := func(headers, body, trailers int) {
		hs, err := proxywasm.GetHttpCallResponseHeaders()
		b, bErr := proxywasm.GetHttpCallResponseBody(0, body)
		logf("answer %d %d %d: %v %v %s %v", headers, body, trailers, hs, err, b, bErr)
		must(proxywasm.ResumeHttpRequest())
	}
	_, err := proxywasm.DispatchHttpCall("metrics", [][2]string{{":path", "/"}}, nil, nil, 100, got)
	logf("incomplete callout refused: %v", errors.Is(err, types.ErrorStatusBadArgument))
	hs := [][2]string{{":path", "/m"}, {":method", "GET"}, {":authority", "x"}}
	_, err = proxywasm.DispatchHttpCall("unknown", hs, nil, nil, 100, got)
	logf("unknown cluster: %v", err)
	_, err = proxywasm.DispatchHttpCall("metrics", hs, []byte("q"), nil, 100, got)
	must(err)
	return types.ActionPause
}
