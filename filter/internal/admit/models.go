package admit

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/origin"
)

// Clients make up names of models. What is kept by model is bounded, so it is kept first for those that the configuration names,
// and then for those that the upstream has answered for.

// namedModels are the models that the configuration names, exactly and not by a pattern.
func namedModels(cfg *config.Config) (names []string) {
	lists := [][]string{cfg.Models.Labels, slices.Collect(maps.Values(cfg.Models.Aliases))}
	for i := range cfg.Upstreams {
		lists = append(lists, cfg.Upstreams[i].Models)
	}
	for i := range cfg.Limits {
		lists = append(lists, cfg.Limits[i].Match.Models)
	}
	for _, list := range lists {
		for _, name := range list {
			if name != "" && !strings.ContainsAny(name, "*?") {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// alias is another name for a model, in lower case.
type alias struct{ name, model string }

// aliases are those of the configuration.
func aliases(cfg *config.Config) (list []alias) {
	for _, name := range slices.Sorted(maps.Keys(cfg.Models.Aliases)) {
		list = append(list, alias{strings.ToLower(name), cfg.Models.Aliases[name]})
	}
	slices.Reverse(list) // of two that differ by case, the later one counts
	return list
}

// alias gives what a name stands for. A look at a map of TinyGo's that is keyed by text would allocate.
func (e *Engine) alias(name string) (model string, found bool) {
	name = strings.ToLower(name)
	for i := range e.aliases {
		if e.aliases[i].name == name {
			return e.aliases[i].model, true
		}
	}
	return "", false
}

// canonical gives a model's name with its alias resolved: the whole name, or what stands before the first "/". White space around
// it, and the collection that Google's names may have, are no part of it.
func (e *Engine) canonical(model string) string {
	model = strings.TrimPrefix(strings.TrimSpace(model), "models/")
	if len(e.aliases) == 0 {
		return model
	}
	if to, found := e.alias(model); found {
		return to
	}
	prefix, rest, cut := strings.Cut(model, "/")
	if to, found := e.alias(prefix); found && cut {
		return to + "/" + rest
	}
	return model
}

const (
	mostLabels   = 100 // of models that the configuration doesn't name, at one time
	labelsEver   = 400 // in the life of an engine: the host's metrics can't be taken back
	labelIdle    = 10 * time.Minute
	longestLabel = 64 // bytes
)

// labels are the metric labels of models. Only what models.labels matches has one of its own. They are asked for several times a request: so
// the last one found comes first, and the others are searched for by halves, since TinyGo's maps cost an allocation each time.
type labels struct {
	globs  []string
	byName []*modelLabel // in the order of their names
	last   *modelLabel   // which was found last
	free   int           // how many more of the models that the configuration doesn't name can have a label at one time
	given  int           // labels to these, so far
}

type modelLabel struct {
	model, label string
	fixed        bool         // the configuration names the model
	used         clock.Moment // when the upstream last answered for another
}

// newLabels are those of a configuration. before are those of the one before it: what was learned stays, as far as it has a label still.
func newLabels(cfg *config.Config, before *labels) labels {
	l := labels{globs: cfg.Models.Labels, free: mostLabels, given: before.given}
	for _, name := range namedModels(cfg) {
		if l.matches(name) && l.find(name) == nil {
			l.insert(&modelLabel{model: name, label: safeLabel(name), fixed: true})
		}
	}
	for _, m := range before.byName {
		if !m.fixed && l.matches(m.model) && l.find(m.model) == nil {
			l.insert(m)
		}
	}
	return l
}

func (l *labels) matches(model string) bool {
	return len(l.globs) > 0 && model != "" && config.MatchAny(l.globs, model)
}

func byModel(m *modelLabel, model string) int { return strings.Compare(m.model, model) }

// find gives what is known of a model's label; nil: it has none.
func (l *labels) find(model string) *modelLabel {
	if l.last != nil && l.last.model == model {
		return l.last
	}
	if i, found := slices.BinarySearchFunc(l.byName, model, byModel); found {
		l.last = l.byName[i]
		return l.last
	}
	return nil
}

func (l *labels) insert(m *modelLabel) {
	i, _ := slices.BinarySearchFunc(l.byName, m.model, byModel)
	l.byName = slices.Insert(l.byName, i, m)
	if !m.fixed {
		l.free--
	}
}

// of gives a model's label; known is false if it might get another one, should the upstream answer for it.
func (l *labels) of(model string) (label string, known bool) {
	if len(l.globs) == 0 {
		return "other", true
	}
	if m := l.find(model); m != nil {
		return m.label, true
	}
	return "other", l.given >= labelsEver || !l.matches(model)
}

// learn gives a model for which the upstream has answered a label, if there is a place for it: a free one, or that of the model
// which hasn't been used for longest, and not for labelIdle.
func (l *labels) learn(now clock.Moment, model string) {
	if len(l.globs) == 0 {
		return
	}
	if m := l.find(model); m != nil {
		m.used = now
		return
	}
	if _, known := l.of(model); known {
		return
	}
	if l.free <= 0 && !l.drop(now) {
		return
	}
	l.given++
	l.insert(&modelLabel{model: strings.Clone(model), label: safeLabel(model), used: now})
}

// drop takes its label from the model that hasn't been used for longest, if that is long enough.
func (l *labels) drop(now clock.Moment) bool {
	least := -1
	for i, m := range l.byName {
		if !m.fixed && (least < 0 || m.used < l.byName[least].used) {
			least = i
		}
	}
	if least < 0 || now.Sub(l.byName[least].used) < labelIdle {
		return false
	}
	l.byName, l.last = slices.Delete(l.byName, least, least+1), nil
	l.free++
	return true
}

// label gives the metric label of a model.
func (e *Engine) label(model string) string {
	label, _ := e.labels.of(model)
	return label
}

// unlabelled says that it is to be seen what the request's label is: whether the upstream answers for its model.
func (e *Engine) unlabelled(s *Stream) bool {
	_, known := e.labels.of(s.exchange.Model)
	return !known && s.phase == stSent
}

// learnLabel takes note of an answer of the upstream.
func (e *Engine) learnLabel(s *Stream, now clock.Moment) {
	if s.exchange.Origin != origin.Upstream || s.exchange.Status < 200 || s.exchange.Status > 299 {
		return
	}
	if s.exchange.Readable && s.exchange.Reader.Response().Failure != 0 {
		return
	}
	e.labels.learn(now, s.exchange.Model)
}

// safeLabel replaces what would break the metric's name apart.
func safeLabel(s string) string {
	b := []byte(s[:min(len(s), longestLabel)])
	for i, c := range b {
		if c <= ' ' || c == ';' || c == '=' || c >= 0x7f {
			b[i] = '_'
		}
	}
	return string(b)
}
