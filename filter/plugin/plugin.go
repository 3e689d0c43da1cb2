// Package plugin binds the pure core to the host: it is the only package that knows the SDK.
//
// It translates callbacks into events of admit.Engine (stream.go), gives it what it asks for (host.go), and carries out the effects that
// come of it, in their order (effects.go). It owns no decisions.
//
// One VM is one worker; a VM has one plugin context for each configuration that still has streams, and a stream keeps the
// engine it began with. A configuration that can't be used is refused with every error logged, and the host keeps the
// old one. A panic in a callback ends in recover: it is logged and counted, and that one stream is passed through
// untouched from then on; only a fault of the runtime itself takes the VM down, and its streams with it.
package plugin

import (
	"encoding/binary"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/admit"
	"github.com/spillway-proxy/spillway/filter/internal/estimate"
	"github.com/spillway-proxy/spillway/filter/internal/metric"
	"github.com/spillway-proxy/spillway/filter/internal/pressure"
)

// Version is the build's version, set by the linker.
var Version = "dev"

// vm is one worker's VM.
type vm struct {
	types.DefaultVMContext
	metrics metrics
	host    host
	learned estimate.Learned
	free    []*stream // ended streams whose memory is used again: garbage costs CPU
	path    [1]string // of the property being set
	digits  []byte    // of the number being set
	latest  *plugin   // the configuration in force
}

// New gives the VM's context.
func New() types.VMContext {
	v := &vm{}
	v.host.metrics = &v.metrics
	return v
}

// mostFree bounds the memory kept for streams to come.
const mostFree = 256

func (v *vm) newStream(p *plugin, id uint32) *stream {
	s := &stream{}
	if n := len(v.free); n > 0 {
		s, v.free = v.free[n-1], v.free[:n-1]
	}
	s.reset(p, id)
	return s
}

// recycle takes back a stream that has ended. The host makes no more callbacks for it: the end of a stream is the last.
func (v *vm) recycle(s *stream) {
	if !s.broken && len(v.free) < mostFree {
		v.free = append(v.free, s)
	}
}

// NewPluginContext implements types.VMContext.
func (v *vm) NewPluginContext(id uint32) types.PluginContext { return &plugin{vm: v, id: id} }

// plugin is one configuration at work.
type plugin struct {
	types.DefaultPluginContext
	vm         *vm
	id         uint32
	engine     *admit.Engine
	tickPeriod uint32
}

// OnPluginStart implements types.PluginContext.
func (p *plugin) OnPluginStart(size int) (status types.OnPluginStartStatus) {
	status = types.OnPluginStartStatusFailed
	defer p.contain("plugin_start")
	var data []byte
	if size > 0 {
		var err error
		if data, err = proxywasm.GetPluginConfiguration(); err != nil {
			proxywasm.LogCritical("spillway: the configuration can't be read from the host: " + err.Error())
			return status
		}
	}
	cfg, err := config.Parse(data)
	if err != nil {
		p.vm.metrics.add(metric.ConfigErrors("invalid"))
		proxywasm.LogCritical("spillway: the configuration is refused:")
		for line := range strings.SplitSeq(err.Error(), "\n") {
			proxywasm.LogCritical("spillway: " + line)
		}
		return status
	}
	if p.engine, err = admit.New(cfg, &p.vm.host, &p.vm.learned, random()); err != nil {
		proxywasm.LogCritical("spillway: shared data can't be used: " + err.Error())
		return status
	}
	proxywasm.LogInfo("spillway " + Version + ": configured, namespace " + cfg.Namespace + ", mode " + string(cfg.Mode))
	for _, path := range cfg.NotInBuild() {
		proxywasm.LogWarn("spillway: " + path + " is valid, but this build has no code for it: it does nothing")
	}
	p.carryOut(nil)
	p.vm.latest = p
	p.vm.metrics.retire(p.engine.HasUpstream)
	p.setTick(p.engine.TickPeriod())
	return types.OnPluginStartStatusOK
}

// OnPluginDone implements types.PluginContext: the last of its streams has ended. It may have set gauges until now.
func (p *plugin) OnPluginDone() bool {
	defer p.contain("plugin_done")
	if p.vm.latest != nil && p.vm.latest != p {
		p.vm.metrics.retire(p.vm.latest.engine.HasUpstream)
	}
	return true
}

// NewHttpContext implements types.PluginContext.
func (p *plugin) NewHttpContext(id uint32) types.HttpContext { return p.vm.newStream(p, id) }

// OnTick implements types.PluginContext.
func (p *plugin) OnTick() {
	defer p.contain("tick")
	p.engine.Tick(monotonic())
	p.carryOut(nil)
	p.setTick(p.engine.TickPeriod())
}

// fetch asks the exporter. The answer comes to this plugin, and not to a stream, which would take it away with it.
func (p *plugin) fetch() {
	if err := proxywasm.SetEffectiveContext(p.id); err != nil {
		p.vm.host.failed("set_effective_context", err)
	}
	source := p.engine.Source()
	headers := [][2]string{{":method", "GET"}, {":path", source.Path}, {":authority", source.Authority}, {"accept", "application/json"}}
	_, err := proxywasm.DispatchHttpCall(source.Cluster, headers, nil, nil, uint32(source.Timeout.Milliseconds()), p.fetched)
	if err != nil { // there is no such cluster
		p.engine.Fetched(monotonic(), 0, nil)
	}
}

// fetched takes the exporter's answer.
func (p *plugin) fetched(_, size, _ int) {
	defer p.contain("fetched")
	status := 0
	if headers, err := proxywasm.GetHttpCallResponseHeaders(); err == nil {
		for _, header := range headers {
			if header[0] == ":status" {
				status, _ = strconv.Atoi(header[1])
			}
		}
	}
	var body []byte
	if size > 0 && status != 0 {
		var err error
		if body, err = proxywasm.GetHttpCallResponseBody(0, min(size, pressure.MostBytes+1)); err != nil {
			p.vm.host.failed("fetched", err)
		}
	}
	p.engine.Fetched(monotonic(), status, body)
	p.carryOut(nil)
}

// wantTick makes ticks come at least as often as the engine wants. They are slowed down in OnTick only: a request that
// comes and goes shall not switch them on and off.
func (p *plugin) wantTick() {
	want := p.engine.TickPeriod()
	if want != 0 && (p.tickPeriod == 0 || want < p.tickPeriod) {
		p.setTick(want)
	}
}

func (p *plugin) setTick(period uint32) {
	if period == p.tickPeriod {
		return
	}
	if err := proxywasm.SetTickPeriodMilliSeconds(period); err != nil {
		proxywasm.LogError("spillway: ticks can't be set: " + err.Error())
		return
	}
	p.tickPeriod = period
}

// contain ends a panic in a callback of the plugin's.
func (p *plugin) contain(callback string) { p.vm.panicked(callback, recover()) }

// panicked says that a callback has panicked, and counts it.
func (v *vm) panicked(callback string, cause any) bool {
	if cause == nil {
		return false
	}
	text := "unknown"
	switch c := cause.(type) {
	case error:
		text = c.Error()
	case string:
		text = c
	}
	proxywasm.LogCritical("spillway: a fault in " + callback + " was contained: " + admit.OneLine(text))
	v.metrics.add(metric.Errors("panic"))
	return true
}

// random gives 16 random bytes. The runtime seeds this generator from the host's random source; crypto/rand would add a
// tenth to the module's size.
func random() []byte {
	b := binary.LittleEndian.AppendUint64(nil, rand.Uint64())
	return binary.LittleEndian.AppendUint64(b, rand.Uint64())
}
