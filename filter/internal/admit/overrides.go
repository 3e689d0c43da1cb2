package admit

import (
	"errors"
	"strconv"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/admin"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/dispatch"
	"github.com/spillway-proxy/spillway/filter/internal/metric"
	"github.com/spillway-proxy/spillway/filter/internal/override"
	"github.com/spillway-proxy/spillway/filter/internal/roster"
)

// What is overridden of the configuration while it runs is one record that all workers share (package override). Each looks at it four times a second
// (followPeriod), and has other rules when it is another one (rules.go); so does a new configuration of the file's, which it is laid over. Overrides that
// don't fit leave what was in force: the file, or those before them. That is logged, counted, and told by the admin surface, as is which worker
// goes by which revision (package roster).

// overrides is what an engine knows of them.
type overrides struct {
	shared  override.Shared
	file    []byte          // the configuration as it was given; nil: it isn't known, and nothing can be overridden
	plain   *config.Config  // the same, as it is without overrides
	inForce override.Record // what the engine goes by
	problem string          // why it isn't the latest; "": it is
	refused uint64          // the revision that has the problem
	shown   []byte          // in JSON
}

// overrideBy begins to follow the overrides of the configuration, which is the engine's and was given as text.
func (e *Engine) overrideBy(text []byte) {
	x := &e.overrides
	x.shared, x.file, x.plain = override.New(e.host, e.cfg.Namespace), append([]byte(nil), text...), e.cfg
	x.show(e.cfg)
	e.beat.roster.Config = fnv(text)
	e.follow()
}

// follow brings the latest overrides into force, if they are others.
func (e *Engine) follow() {
	x := &e.overrides
	if x.file == nil {
		return
	}
	r, news, err := x.shared.Look()
	switch {
	case err != nil:
		e.storeFailed("the record of overrides can't be read", err)
		return
	case !news:
		return
	case e.Crowded():
		x.shared.Again()
		e.refuseOverrides(&r, crowded)
		return
	}
	cfg, err := config.ParseWith(x.file, r.Text)
	if err != nil {
		e.refuseOverrides(&r, err.Error())
		return
	}
	x.inForce, x.problem = r, ""
	e.Change(&cfg)
	x.show(e.latest.cfg)
	e.out.info("overrides of revision " + revision(&r) + " are in force")
}

// crowded is why overrides have to wait.
var crowded = "streams of " + strconv.Itoa(mostRules) + " earlier configurations are still under way, which have to end first"

// refuseOverrides takes note of why overrides don't come into force, once.
func (e *Engine) refuseOverrides(r *override.Record, why string) {
	x := &e.overrides
	if x.problem == why && x.refused == r.Revision {
		return
	}
	x.problem, x.refused = why, r.Revision
	x.show(e.latest.cfg)
	e.out.count(metric.ConfigErrors("overrides"), 1)
	e.out.warn("overrides don't fit, so what was in force stays (revision " + revision(&x.inForce) + ", not " + revision(r) + "): " + why)
}

// appendOverrides adds what is overridden, and how many workers go by it; nothing where nothing can be overridden.
func (e *Engine) appendOverrides(b []byte, workers []roster.Revision) []byte {
	var j admin.JSON
	shown := e.overrides.shown
	if len(shown) == 0 {
		return nil
	}
	j.Reset(append(b, shown[:len(shown)-1]...))
	j.Key("workers")
	j.Array()
	for _, r := range workers {
		j.Object()
		j.MemberInt("revision", int64(r.Revision))
		j.MemberInt("workers", int64(r.Workers))
		if r.Refused > 0 {
			j.MemberInt("refused", int64(r.Refused))
		}
		j.EndObject()
	}
	j.EndArray()
	j.EndObject()
	return j.Bytes()
}

func revision(r *override.Record) string { return strconv.FormatUint(r.Revision, 10) }

// show writes down how things stand.
func (x *overrides) show(now *config.Config) {
	var j admin.JSON
	j.Object()
	j.MemberInt("revision", int64(x.inForce.Revision))
	if x.inForce.Revision > 0 {
		j.Key("changed")
		j.Time(x.inForce.Wall)
		j.Member("by", x.inForce.Who)
	}
	j.Key("overrides")
	j.Raw(orNothing(x.inForce.Text))
	j.Key("differences")
	j.Raw(config.Differences(x.plain, now))
	if x.problem != "" {
		j.Member("problem", x.problem)
	}
	j.EndObject()
	x.shown = j.Bytes()
}

// logged is a text of overrides as the log has it.
func logged(text []byte) string {
	const most = 2000
	if len(text) > most {
		return string(text[:most]) + "... (" + strconv.Itoa(len(text)) + " bytes)"
	}
	return string(orNothing(text))
}

// orNothing is a text of overrides, which may be none.
func orNothing(text []byte) []byte {
	if len(text) == 0 {
		return []byte("{}")
	}
	return text
}

// showConfig answers with the configuration in force, or with what of it is overridden.
func (e *Engine) showConfig(r *admin.Request, a *admin.Answer) {
	g := e.gateway()
	switch {
	case g == nil:
		a.Error(404, "", notConfigured)
	case r.Asks("overrides"):
		e.refreshStatus()
		text := g.appendOverrides(nil, e.surface.workers)
		a.Tagged(r, text, tagOf(text))
	default:
		text := g.latest.cfg.JSON()
		a.Tagged(r, text, tagOf(text))
	}
}

// patchOverrides lays a merge patch over what is overridden.
func (e *Engine) patchOverrides(r *admin.Request, a *admin.Answer) {
	if len(r.Body) == 0 {
		a.Error(422, "", "want a body: an object, of what is to change")
		return
	}
	e.override(r, a, func(file, laid []byte) (config.Config, []byte, error) { return config.Patch(file, laid, r.Body) })
}

// deleteOverrides takes all back, or what a JSON Pointer leads to.
func (e *Engine) deleteOverrides(r *admin.Request, a *admin.Answer) {
	e.override(r, a, func(file, laid []byte) (config.Config, []byte, error) {
		var left []byte
		if r.Asks("path") {
			var err error
			if left, err = config.TakeBack(file, laid, r.Query("path")); err != nil {
				return config.Config{}, nil, err
			}
		}
		cfg, err := config.ParseWith(file, left)
		return cfg, left, err
	})
}

const notConfigured = "no gateway of this namespace has been configured yet"

var (
	errConflict  = errors.New("conflicts with what is running")
	errUnchanged = errors.New("nothing changes")
	errPast      = errors.New("that is over; want a time to come")
)

// override changes what is overridden, and answers with what is in force then. The other workers follow within followPeriod.
func (e *Engine) override(r *admin.Request, a *admin.Answer, change func(file, laid []byte) (config.Config, []byte, error)) {
	g := e.gateway()
	if g == nil || g.overrides.file == nil {
		a.Error(409, "", notConfigured)
		return
	}
	var wrong error
	var conflicts []admin.Fault
	before, after, err := g.overrides.shared.Change(e.host.Wall(), r.Who, func(known *override.Record) ([]byte, error) {
		cfg, text, err := change(g.overrides.file, known.Text)
		if wrong = err; err != nil {
			return nil, err
		}
		if conflicts = g.conflicts(e.surface.now, &cfg); conflicts != nil {
			return nil, errConflict
		}
		if string(text) == string(known.Text) {
			return nil, errUnchanged
		}
		return text, nil
	})
	switch {
	case err == errUnchanged:
	case err == errConflict:
		a.Errors(409, conflicts...)
		return
	case wrong == config.ErrNotOverridden:
		a.Error(404, r.Query("path"), wrong.Error())
		return
	case wrong != nil:
		a.Errors(422, faults(wrong)...)
		return
	case err != nil:
		a.Error(503, "", "the overrides can't be written: "+err.Error())
		return
	default:
		a.Change = logged(before.Text) + " is now " + logged(after.Text)
	}
	g.follow()
	a.JSON(200, g.overrides.shown)
}

// faults are the problems of a configuration, as the surface tells them.
func faults(err error) (all []admin.Fault) {
	for _, p := range config.Problems(err) {
		all = append(all, admin.Fault(p))
	}
	return all
}

// conflicts is what a configuration can't be for what is running: the room of a queue can't be less than what waits in it.
func (e *Engine) conflicts(now clock.Moment, cfg *config.Config) (found []admin.Fault) {
	if cfg.Mode == config.Off || e.latest.cfg.Mode == config.Off {
		return nil
	}
	for i := range cfg.Upstreams {
		u, was := &cfg.Upstreams[i], &e.latest.cfg.Upstreams[i]
		queue := e.site(u.Name).queue
		settings := dispatch.NewSettings(u, cfg.Mode)
		if queue == nil || !settings.Governs() {
			continue
		}
		snapshot := queue.Snapshot(now)
		waiting := int64(0)
		for _, n := range snapshot.Waiting {
			waiting += int64(n)
		}
		path := "upstreams[" + strconv.Itoa(i) + "].queue.max"
		if u.Queue.Max < was.Queue.Max {
			found = smaller(found, path, waiting, int64(settings.QueueMax), " requests wait there; want at least as many, or try again when there are fewer")
		}
		if most := u.Queue.MaxBytes; most > 0 && (most < was.Queue.MaxBytes || was.Queue.MaxBytes == 0) {
			found = smaller(found, path+"Bytes", snapshot.Bytes, most, " bytes wait there; want at least as many, or try again when there are fewer")
		}
	}
	return found
}

// smaller adds a fault if more waits than may.
func smaller(found []admin.Fault, path string, waiting, most int64, message string) []admin.Fault {
	if waiting <= most {
		return found
	}
	return append(found, admin.Fault{Path: path, Message: strconv.FormatInt(waiting, 10) + message})
}
