package admin

import (
	"math"
	"time"

	"github.com/spillway-proxy/spillway/config"
)

// Status is how the filter stands in all workers, as plain values.
type Status struct {
	Version string
	Uptime  time.Duration
	Workers int // that have been heard of lately

	Configurations int  // different ones that these have
	Configured     bool // there is a gateway whose configuration is known
	Mode           string
	Requests       []Count // by decision
	Tokens         []Count // by type
	Limits         []Limit
	Upstreams      []Upstream
	PressureAge    time.Duration // since the last fetch; below 0: there was none
	Instances      int           // that told of pressure then
	Servers        []Instance    // the first of them
	Fleet          string        // how the service of the fleet's limits does, if there are such: ANSWERS or GONE
	Spends         bool          // there are limits of dollars
	Unpriced       []Count       // requests of late by models that have no price, the most frequent
	Overrides      []byte        // JSON; nil: none
}

// MostServers is how many servers a status has at most: more than that nobody reads once a second.
const MostServers = 64

// Instance is one server that tells of its pressure. What it doesn't tell is Absent.
type Instance struct {
	Decode, Prefill, Memory float64       // share of the KV cache in use by decoding; tokens being prefilled; share of its fullest GPU's memory
	Age                     time.Duration // when it was fetched
}

// Count is a number with its name.
type Count struct {
	Name string
	N    int64
}

// Limit is one of the configuration.
type Limit struct {
	Name, Admission, Mode string
	Unit                  *config.Unit
	Scope                 string
	Per                   []string
	Quantity, Burst       int64 // units; of money billionths of a dollar
	Window                time.Duration
	Idle                  time.Duration // of a lifetime; 0: it is none
	Calendar              string        // the window's name, where it is one of the calendar
	Ends                  int64         // when the window of now ends, in nanoseconds since 1970; 0: it has none
	Nearly                float64       // share from which little is left; 0: it isn't looked at
}

// Absent is a number that isn't there.
var Absent = math.NaN()

// View is how a gate stands, or one of its signals.
type View struct {
	Name             string  // of a gate's part: a model, a signal; "": the gate itself
	Value, Threshold float64 // Absent: there is none, or nothing is known
	State            string  // "": nothing is known
	LastAt           int64   // nanoseconds since 1970; when it last refused, or was lowered
	LastReason       string  // "": never
	RecoversIn       time.Duration
	Why              string  // in words; "": nothing is to be explained
	Counts           []Count // what there is beside
	Parts            []View
}

// Upstream is one of the configuration, with its gates. Those that are off are nil.
type Upstream struct {
	Drained                                                      bool
	Name                                                         string
	Budget, Queue, Retreat, Latency, Throttle, Breaker, Pressure *View
}

// Append writes the status.
func (s *Status) Append(b []byte) []byte {
	var j JSON
	j.Reset(b)
	j.Object()
	j.Member("version", s.Version)
	j.MemberInt("uptimeSeconds", int64(s.Uptime/time.Second))
	j.MemberInt("workers", int64(s.Workers))
	j.MemberInt("configurations", int64(s.Configurations))
	j.Member("mode", s.Mode)
	j.counts("requests", s.Requests)
	j.counts("tokens", s.Tokens)
	j.Key("limits")
	j.Array()
	for i := range s.Limits {
		s.Limits[i].write(&j)
	}
	j.EndArray()
	j.Key("upstreams")
	j.Array()
	for i := range s.Upstreams {
		s.Upstreams[i].write(&j)
	}
	j.EndArray()
	s.writePressure(&j)
	if s.Fleet != "" {
		j.Key("fleet")
		j.Object()
		j.Member("state", s.Fleet)
		j.EndObject()
	}
	s.writeUnpriced(&j)
	j.Key("overrides")
	if s.Overrides == nil {
		j.Object()
		j.EndObject()
	} else {
		j.Raw(s.Overrides)
	}
	j.EndObject()
	return j.Bytes()
}

// writePressure writes what is known of the servers.
func (s *Status) writePressure(j *JSON) {
	j.Key("pressure")
	j.Object()
	j.Key("ageSeconds")
	if s.PressureAge < 0 {
		j.Null()
	} else {
		j.Float(s.PressureAge.Seconds())
	}
	j.MemberInt("instances", int64(s.Instances))
	j.Key("servers")
	j.Array()
	for i := range s.Servers {
		x := &s.Servers[i]
		j.Object()
		j.MemberFloat("activeDecodeBlocks", x.Decode)
		j.MemberFloat("activePrefillTokens", x.Prefill)
		j.MemberFloat("gpuMemory", x.Memory)
		j.MemberFloat("ageSeconds", x.Age.Seconds())
		j.EndObject()
	}
	j.EndArray()
	j.EndObject()
}

// writeUnpriced writes which models have no price, where that matters.
func (s *Status) writeUnpriced(j *JSON) {
	if !s.Spends {
		return
	}
	j.Key("unpriced")
	j.Array()
	for i := range s.Unpriced {
		j.Object()
		j.Member("model", s.Unpriced[i].Name)
		j.MemberInt("requests", s.Unpriced[i].N)
		j.EndObject()
	}
	j.EndArray()
}

func (j *JSON) counts(key string, counts []Count) {
	j.Key(key)
	j.Object()
	for i := range counts {
		j.MemberInt(counts[i].Name, counts[i].N)
	}
	j.EndObject()
}

func (l *Limit) write(j *JSON) {
	j.Object()
	j.Member("name", l.Name)
	j.Key("per")
	j.Array()
	for _, per := range l.Per {
		j.String(per)
	}
	j.EndArray()
	j.Member("unit", l.Unit.Name)
	j.MemberAmount("quantity", l.Quantity, l.Unit)
	j.MemberFloat("windowSeconds", l.Window.Seconds())
	if l.Idle > 0 { // of a lifetime
		j.MemberFloat("idleSeconds", l.Idle.Seconds())
	}
	if l.Ends > 0 {
		if l.Calendar != "" {
			j.Member("window", l.Calendar)
		}
		j.Key("windowEnds")
		j.Time(l.Ends)
	}
	j.MemberAmount("burst", l.Burst, l.Unit)
	if l.Nearly > 0 {
		j.MemberFloat("nearlyAt", l.Nearly)
	}
	j.Member("admission", l.Admission)
	j.Member("mode", l.Mode)
	j.Member("scope", l.Scope)
	j.EndObject()
}

func (u *Upstream) write(j *JSON) {
	j.Object()
	j.Member("name", u.Name)
	j.MemberBool("drained", u.Drained)
	for _, gate := range [...]struct {
		name string
		view *View
	}{{"budget", u.Budget}, {"queue", u.Queue}, {"retreat", u.Retreat}, {"latency", u.Latency}, {"throttle", u.Throttle}, {"breaker", u.Breaker}, {"pressure", u.Pressure}} {
		j.Key(gate.name)
		if gate.view == nil {
			gate.view = &View{State: "OFF", Value: Absent, Threshold: Absent}
		}
		gate.view.write(j)
	}
	j.EndObject()
}

func (v *View) write(j *JSON) {
	j.Object()
	if v.Name != "" {
		j.Member("name", v.Name)
	}
	j.MemberFloat("value", v.Value)
	j.MemberFloat("threshold", v.Threshold)
	j.Member("state", v.State)
	j.Key("lastTrigger")
	if v.LastReason == "" {
		j.Null()
	} else {
		j.Object()
		j.Key("time")
		j.Time(v.LastAt)
		j.Member("reason", v.LastReason)
		j.EndObject()
	}
	j.MemberFloat("recoversInSeconds", v.RecoversIn.Seconds())
	if v.Why != "" {
		j.Member("why", v.Why)
	}
	for i := range v.Counts {
		j.MemberInt(v.Counts[i].Name, v.Counts[i].N)
	}
	if len(v.Parts) > 0 {
		j.Key("parts")
		j.Array()
		for i := range v.Parts {
			v.Parts[i].write(j)
		}
		j.EndArray()
	}
	j.EndObject()
}

// The bounds of readiness.
const (
	fullQueue   = 0.9  // share of a queue above which nothing more should be sent here
	emptyBudget = 0.05 // share of an upstream's budget below which
)

// Reasons says why no more should be sent here, if anything does; none: it is ready.
func (s *Status) Reasons() (list []View) {
	if s.Workers == 0 {
		list = append(list, View{Name: "", State: "workers", LastReason: "no worker has reported for 5 s", Value: 0, Threshold: 1})
	}
	for i := range s.Upstreams {
		u := &s.Upstreams[i]
		if q := u.Queue; q != nil && q.Threshold > 0 && q.Value > fullQueue*q.Threshold {
			list = append(list, View{Name: u.Name, State: "queue", LastReason: "the queue is over 90 % full", Value: q.Value, Threshold: q.Threshold})
		}
		if b := u.Budget; b != nil && b.Threshold > 0 && b.Value < emptyBudget*b.Threshold {
			list = append(list, View{Name: u.Name, State: "budget", LastReason: "less than 5 % of the budget is left", Value: b.Value, Threshold: b.Threshold})
		}
	}
	return list
}

// Health writes the answer of healthz, and of readyz with what is against it; names says that it may name upstreams.
func (s *Status) Health(b []byte, against []View, names bool) []byte {
	var j JSON
	j.Reset(b)
	j.Object()
	if len(against) == 0 {
		j.Member("status", "ok")
	} else {
		j.Member("status", "not ready")
	}
	j.Member("version", s.Version)
	j.MemberInt("uptimeSeconds", int64(s.Uptime/time.Second))
	j.MemberInt("workers", int64(s.Workers))
	if len(against) > 0 {
		j.Key("reasons")
		j.Array()
		for i := range against {
			r := &against[i]
			j.Object()
			if r.Name != "" && names {
				j.Member("upstream", r.Name)
			}
			j.Member("reason", r.State)
			j.Member("message", r.LastReason)
			j.MemberFloat("value", r.Value)
			j.MemberFloat("threshold", r.Threshold)
			j.EndObject()
		}
		j.EndArray()
	}
	j.EndObject()
	return j.Bytes()
}
