// Package plugin binds the pure core to the host: with package abi it is the only one that knows it.
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
	"cmp"
	"encoding/binary"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/config/protostruct"
	"github.com/spillway-proxy/spillway/filter/abi"
	"github.com/spillway-proxy/spillway/filter/internal/admit"
	"github.com/spillway-proxy/spillway/filter/internal/lease"
	"github.com/spillway-proxy/spillway/filter/internal/metric"
	"github.com/spillway-proxy/spillway/filter/internal/oneline"
	"github.com/spillway-proxy/spillway/filter/internal/pressure"
)

// Version is the build's version, set by the linker; none is a developer's. TinyGo's linker sets no variable that has a value already.
var Version string

// vm is one worker's VM.
type vm struct {
	metrics metrics
	host    host
	worker  admit.Worker
	plugins map[uint32]*plugin // by the host's number
	streams streams
	free    []*stream // ended streams whose memory is used again: garbage costs CPU
	digits  []byte    // of the number being set
	edited  []byte    // the request's body that is being changed
	latest  *plugin   // the configuration in force
}

func newVM() *vm {
	v := &vm{plugins: map[uint32]*plugin{}}
	v.host.metrics, v.worker.Version = &v.metrics, cmp.Or(Version, "dev")
	return v
}

// mostFree bounds the memory kept for streams to come.
const mostFree = 256

func (v *vm) newStream(p *plugin, id uint32) *stream {
	var s *stream
	if n := len(v.free); n > 0 {
		s, v.free = v.free[n-1], v.free[:n-1]
	} else {
		s = &stream{}
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

// plugin is one configuration at work.
type plugin struct {
	vm         *vm
	id         uint32
	engine     *admit.Engine
	headers    [][2]string // of an answer
	asked      uint32      // the call to the fleet's service that is under way; 0: there is none
	tickPeriod uint32
}

// configure takes the configuration, of so many bytes, and says whether it can be used.
func (p *plugin) configure(size int) (usable bool) {
	defer p.contain("plugin_start")
	var data []byte
	if size > 0 {
		var status abi.Status
		if data, status = abi.Body(abi.PluginConfiguration, 0, size); status != abi.OK {
			abi.Log(abi.Critical, "spillway: the configuration can't be read from the host: "+status.Error())
			return false
		}
	}
	json, is, wrong := protostruct.JSON(data) // Envoy doesn't make JSON of it
	if is {
		data = config.FromYAML(json)
	}
	cfg, err := config.Parse(data)
	if wrong != nil {
		err = wrong
	}
	if err != nil {
		p.vm.metrics.add(metric.ConfigErrors("invalid"))
		abi.Log(abi.Critical, "spillway: the configuration is refused:")
		for line := range strings.SplitSeq(err.Error(), "\n") {
			abi.Log(abi.Critical, "spillway: "+line)
		}
		return false
	}
	engine, err := admit.New(&cfg, &p.vm.host, &p.vm.worker, random())
	if err != nil {
		abi.Log(abi.Critical, "spillway: shared data can't be used: "+err.Error())
		return false
	}
	p.engine = engine
	engine.Announce(data)
	abi.Log(abi.Info, "spillway "+p.vm.worker.Version+": configured, namespace "+cfg.Namespace+", mode "+string(cfg.Mode))
	p.carryOut(nil)
	if p.engine.IsGateway() { // an admin listener has no gauges, and is nobody's successor
		p.vm.latest = p
		p.vm.metrics.retire(p.engine.HasUpstream)
	}
	p.setTick(p.engine.TickPeriod())
	return true
}

// end is that of the last of its streams, when another configuration has taken over. It may have set gauges until now.
func (p *plugin) end() {
	defer p.contain("plugin_done")
	if p.vm.latest != nil && p.vm.latest != p {
		p.vm.metrics.retire(p.vm.latest.engine.HasUpstream)
	}
}

// tick is the host's timer.
func (p *plugin) tick() {
	defer p.ticked()
	defer p.contain("tick")
	p.engine.Tick(now())
}

// ticked does what the tick has brought about, also what it had until a fault: what was an answer to a stream would be that of the next event's.
func (p *plugin) ticked() {
	defer p.contain("tick")
	p.carryOut(nil)
	p.setTick(p.engine.TickPeriod())
}

// fetch asks the exporter.
func (p *plugin) fetch() {
	source := p.engine.Source()
	headers := [][2]string{{":method", "GET"}, {":path", source.Path}, {":authority", source.Authority}, {"accept", "application/json"}}
	if p.call(source.Cluster, headers, nil, source.Timeout) == 0 {
		p.engine.Fetched(now(), 0, nil)
	}
}

// ask asks the fleet's service.
func (p *plugin) ask() {
	c, body, patience := p.engine.FleetCall()
	headers := [][2]string{{":method", "POST"}, {":path", "/json"}, {":authority", c.Authority}, {"content-type", "application/json"}}
	if p.asked = p.call(c.Cluster, headers, body, patience); p.asked == 0 {
		p.engine.FleetAnswered(now(), 0, nil)
	}
}

// call makes a call, and gives its number; 0: there is no such cluster. The answer comes to this plugin, and not to a stream, which would take it
// away with it.
func (p *plugin) call(cluster string, headers [][2]string, body []byte, timeout time.Duration) (number uint32) {
	if status := abi.SetEffectiveContext(p.id); status != abi.OK {
		p.vm.host.failed("set_effective_context", status)
	}
	number, status := abi.Call(cluster, headers, body, uint32(timeout.Milliseconds()))
	if status != abi.OK {
		return 0
	}
	return number
}

// answered takes the answer to a call, of which so many bytes of body have come; also when it never comes.
func (p *plugin) answered(call uint32, size int) {
	defer p.contain("fetched")
	fleet := p.asked != 0 && call == p.asked
	most := pressure.MostBytes
	if fleet {
		p.asked, most = 0, lease.MostBytes
	}
	status := 0
	p.headers, _ = abi.Headers(abi.CallResponseHeaders, p.headers)
	for i := range p.headers {
		if p.headers[i][0] == ":status" {
			status, _ = strconv.Atoi(p.headers[i][1])
		}
	}
	var body []byte
	if size > 0 && status != 0 {
		var refused abi.Status
		if body, refused = abi.Body(abi.CallResponseBody, 0, min(size, most+1)); refused != abi.OK {
			p.vm.host.failed("fetched", refused)
		}
	}
	if fleet {
		p.engine.FleetAnswered(now(), status, body)
	} else {
		p.engine.Fetched(now(), status, body)
	}
	p.carryOut(nil)
}

// wantTick makes ticks come at least as often as the engine wants. They are slowed down in a tick only: a request that
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
	if status := abi.SetTickPeriod(period); status != abi.OK {
		abi.Log(abi.Error, "spillway: ticks can't be set: "+status.Error())
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
	abi.Log(abi.Critical, "spillway: a fault in "+callback+" was contained: "+oneline.Of(text))
	v.metrics.add(metric.Errors("panic"))
	return true
}

// random gives 16 random bytes. The runtime seeds this generator from the host's random source; crypto/rand would add a
// tenth to the module's size.
func random() []byte {
	b := binary.LittleEndian.AppendUint64(nil, rand.Uint64())
	return binary.LittleEndian.AppendUint64(b, rand.Uint64())
}
