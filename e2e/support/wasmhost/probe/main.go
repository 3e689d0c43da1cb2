// Command probe is a guest that does what a request's x-do header tells it, and
// logs what the host answered. The tests of the host double run it.
package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"
)

func main() {}

func init() {
	proxywasm.SetVMContext(&vm{})
}

type vm struct{ types.DefaultVMContext }

func (*vm) OnVMStart(int) types.OnVMStartStatus {
	conf, _ := proxywasm.GetVMConfiguration()
	_, err := proxywasm.GetPluginConfiguration()
	logf("vm start: %s, plugin configuration: %v", conf, err)
	return string(conf) != "refuse"
}

func (*vm) NewPluginContext(id uint32) types.PluginContext { return &plugin{id: id} }

// plugin resumes the streams that wait, at each tick.
type plugin struct {
	types.DefaultPluginContext
	id      uint32
	conf    string
	waiting []uint32
}

func (p *plugin) OnPluginStart(int) types.OnPluginStartStatus {
	conf, err := proxywasm.GetPluginConfiguration()
	p.conf = string(conf)
	logf("configure: %s %v", conf, err)
	if strings.HasPrefix(p.conf, "tick") {
		must(proxywasm.SetTickPeriodMilliSeconds(20))
	}
	return p.conf != "refuse"
}

func (p *plugin) OnPluginDone() bool {
	logf("plugin %s done", p.conf)
	if p.conf == "linger" {
		must(proxywasm.SetTickPeriodMilliSeconds(5))
		return false
	}
	return true
}

func (p *plugin) NewHttpContext(id uint32) types.HttpContext { return &stream{p: p, id: id} }

func (p *plugin) OnTick() {
	logf("tick %s at %d", p.conf, time.Now().UnixMilli())
	if p.conf == "linger" {
		proxywasm.PluginDone()
		return
	}
	for _, id := range p.waiting {
		if err := proxywasm.SetEffectiveContext(id); err != nil {
			logf("effective context %v", err)
			// Still the plugin's, or an earlier stream's: the name is the proof.
			name, err := proxywasm.GetHttpRequestHeader("x-name")
			logf("still %q %v", name, err)
			continue
		}
		if p.conf == "tick-deny" {
			must(proxywasm.SendHttpResponse(503, nil, []byte("late"), -1))
			continue
		}
		must(proxywasm.AddHttpRequestHeader("x-resumed", "1"))
		must(proxywasm.ResumeHttpRequest())
		logf("edit after resume: %v", proxywasm.AddHttpRequestHeader("x-late", "1"))
	}
	p.waiting = nil
}

// stream obeys its request.
type stream struct {
	types.DefaultHttpContext
	p        *plugin
	id       uint32
	do, name string
	sizes    []int
}

func (s *stream) OnHttpRequestHeaders(_ int, end bool) types.Action {
	s.do, _ = proxywasm.GetHttpRequestHeader("x-do")
	s.name, _ = proxywasm.GetHttpRequestHeader("x-name")
	logf("headers %s end=%v", s.name, end)
	if f, ok := commands[s.do]; ok {
		return f(s)
	}
	return types.ActionContinue
}

func (s *stream) OnHttpRequestBody(size int, end bool) types.Action {
	s.sizes = append(s.sizes, size)
	logf("body %d end=%v", size, end)
	switch s.do {
	case "hold", "collect":
		if !end {
			return types.ActionPause
		}
		b, err := proxywasm.GetHttpRequestBody(0, size)
		logf("collected %s %v", b, err)
		if s.do == "collect" {
			must(proxywasm.ReplaceHttpRequestBody([]byte("<" + string(b) + ">")))
			return types.ActionContinue
		}
		s.p.waiting = append(s.p.waiting, s.id)
		return types.ActionPause
	case "hold-first":
		if len(s.sizes) == 1 {
			s.p.waiting = append(s.p.waiting, s.id)
			return types.ActionPause
		}
	case "deny-body":
		return deny(s)
	}
	return types.ActionContinue
}

func (s *stream) OnHttpRequestTrailers(n int) types.Action {
	logf("trailers %d", n)
	return types.ActionContinue
}

func (s *stream) OnHttpResponseHeaders(_ int, end bool) types.Action {
	status, err := proxywasm.GetHttpResponseHeader(":status")
	_, reqErr := proxywasm.GetHttpRequestHeader("x-name")
	logf("response %s %v end=%v, request header: %v", status, err, end, reqErr)
	if s.do == "panic-response" {
		panic("on purpose")
	}
	must(proxywasm.AddHttpResponseHeader("x-seen", "1"))
	return types.ActionContinue
}

func (s *stream) OnHttpResponseBody(size int, end bool) types.Action {
	logf("response body %d end=%v", size, end)
	must(proxywasm.SetProperty([]string{"gen_ai.tokens"}, []byte(fmt.Sprint(size))))
	if s.do == "hold-response" && !end {
		return types.ActionPause
	}
	return types.ActionContinue
}

func (s *stream) OnHttpStreamDone() {
	name, err := proxywasm.GetHttpRequestHeader("x-name")
	if s.do == "deny" || s.do == "deny-continue" || s.do == "pause" || s.do == "hold" {
		return // The request may still be in reach, and mustn't be edited any more.
	}
	logf("done %q %v edit: %v", name, err, proxywasm.AddHttpRequestHeader("x", "y"))
}

var commands = map[string]func(*stream) types.Action{}

func init() {
	commands["pause"] = func(s *stream) types.Action {
		s.p.waiting = append(s.p.waiting, s.id)
		return types.ActionPause
	}
	commands["hold"] = pause
	commands["collect"] = pause
	commands["deny"] = deny
	commands["deny-edit"] = deny
	commands["deny-continue"] = func(s *stream) types.Action { deny(s); return types.ActionContinue }
	commands["panic"] = func(*stream) types.Action { panic("on purpose") }
	commands["exit"] = func(*stream) types.Action { os.Exit(3); return types.ActionContinue }
	commands["sleep"] = func(*stream) types.Action { <-time.NewTimer(time.Hour).C; return types.ActionContinue }
	commands["resume-running"] = func(*stream) types.Action {
		must(proxywasm.ResumeHttpRequest())
		return types.ActionContinue
	}
	commands["headers"] = headers
	commands["properties"] = properties
	commands["shared"] = shared
	commands["metrics"] = metrics
	commands["garbage"] = garbage
	commands["tick-here"] = func(*stream) types.Action {
		must(proxywasm.SetTickPeriodMilliSeconds(7))
		return types.ActionContinue
	}
	commands["callout"] = callout
	commands["increment"] = func(s *stream) types.Action {
		for {
			v, cas, err := proxywasm.GetSharedData("n")
			if err != nil {
				v = make([]byte, 1)
			}
			v = slices.Clone(v)
			v[0]++
			if proxywasm.SetSharedData("n", v, cas) == nil {
				break
			}
		}
		hits.Increment(1)
		return types.ActionContinue
	}
}

// hits is defined at its first use: at initialisation the host is out of reach.
var hits counter

type counter struct {
	c proxywasm.MetricCounter
}

func (c *counter) Increment(n uint64) {
	if c.c == 0 {
		c.c = proxywasm.DefineCounterMetric("hits")
	}
	c.c.Increment(n)
}

func pause(*stream) types.Action { return types.ActionPause }

func deny(*stream) types.Action {
	must(proxywasm.SendHttpResponse(429, [][2]string{{"retry-after", "1"}}, []byte("no"), -1))
	return types.ActionPause
}

func logf(format string, args ...any) { proxywasm.LogInfof(format, args...) }

func must(err error) {
	if err != nil {
		proxywasm.LogError("unexpected: " + err.Error())
	}
}
