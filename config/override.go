package config

import (
	"errors"
	"strconv"
	"strings"
)

// Overrides change a configuration while it runs: a JSON object that is laid over the file's, as a JSON Merge Patch (RFC 7396) is. What is in
// it takes the place of the file's; lists are replaced as a whole, but those whose entries have names may be given as an object by name, of
// which each is laid over the entry of that name. Overrides are changed by merge patches themselves, so that null takes one back.
//
// No override changes what a field's description bars (field.fixed), nor which limits and upstreams there are (kept). What comes of it is read
// by the same fields as a file is, and all that is wrong is told at once.

// MostOverrides bounds a patch, and what the overrides have become by all of them, in bytes.
const MostOverrides = 64 << 10

// ParseWith is Parse of a configuration with overrides laid over it. No overrides at all are none.
func ParseWith(file, overrides []byte) (Config, error) {
	c, _, err := Patch(file, overrides, nil)
	return c, err
}

// Patch changes overrides by a patch, and gives the configuration that comes of it, and the overrides as they are then, nil if there are
// none left. Neither is good if there is an error: it names everything wrong at once, as that of Parse does.
// A patch of no bytes changes nothing.
func Patch(file, overrides, patch []byte) (Config, []byte, error) {
	if len(patch) > MostOverrides {
		return Config{}, nil, fieldErrors{{problem: "the patch is longer than " + strconv.Itoa(MostOverrides) + " bytes"}}
	}
	o := overlay{}
	base, laid, change := o.parse(file), o.parse(overrides), o.parse(patch)
	if len(o.r.errs) > 0 {
		return Config{}, nil, o.r.all()
	}
	switch {
	case change != nil && change.kind != isObject:
		return Config{}, nil, fieldErrors{{value: showType(change), problem: "want an object, of what is to change"}}
	case change == nil && len(patch) > 0: // RFC 7396 has null take back all, which a mistake should not
		return Config{}, nil, fieldErrors{{problem: "want an object, of what is to change"}}
	}
	whole := nested{&Config{}}
	if change != nil {
		laid = o.merge("", whole, laid, change)
	}
	if laid != nil {
		base = o.lay("", whole, base, laid)
	}
	var c Config
	o.r.section("", &c, base)
	if len(o.r.errs) > 0 {
		return Config{}, nil, o.r.all()
	}
	kept := stored(laid)
	if len(kept) > MostOverrides {
		return Config{}, nil, fieldErrors{{problem: "all overrides together are longer than " + strconv.Itoa(MostOverrides) + " bytes; take some back"}}
	}
	return c, kept, nil
}

// overlay lays one document over another. What it is given is changed by it.
type overlay struct {
	r reader
}

// parse reads a document; nil is nothing at all, and null.
func (o *overlay) parse(text []byte) *jsonValue {
	v, problem := parseJSON(string(text))
	if problem != "" {
		o.r.problem("", "", problem)
		return nil
	}
	if v != nil && v.kind == isNull {
		return nil
	}
	return v
}

// namedList is a list of sections whose entries may be given by name.
type namedList interface {
	value
	key() string    // that has the name; "": they have none
	entry() section // as it is without values
}

func (s sections[T, P]) key() string    { return s.unique }
func (s sections[T, P]) entry() section { return P(new(T)) }

// merge changes a target by a patch, as RFC 7396 has it, but that null stays, for lay to see what it stands for, and that what is by name goes
// into a list that is not. of is what it is the value of; nil: of a key that there isn't.
func (o *overlay) merge(path string, of value, target, patch *jsonValue) *jsonValue {
	if patch.kind != isObject {
		return patch
	}
	named, isNamed := of.(namedList)
	if isNamed && target != nil && target.kind == isArray {
		for _, m := range o.r.members(path, patch, named.want()) {
			if i := indexOf(named, target, m.key); i >= 0 && m.value.kind == isObject {
				target.list[i] = o.merge(join(path, m.key), nested{named.entry()}, target.list[i], m.value)
			} else {
				o.r.problem(join(path, m.key), "", "the list is overridden as a whole; take that back first")
			}
		}
		return target
	}
	if target == nil || target.kind != isObject {
		target = &jsonValue{kind: isObject}
	}
	for _, m := range o.r.members(path, patch, "an object") {
		target.set(m.key, o.merge(join(path, m.key), valueOf(of, m.key), target.get(m.key), m.value))
	}
	return target
}

// valueOf is what a key of a value is the value of; nil: there is no such key, or it isn't described by itself.
func valueOf(of value, key string) value {
	switch v := of.(type) {
	case nested:
		if f := fieldOf(v.section, key); f != nil {
			return f.value
		}
	case namedList:
		if v.key() != "" {
			return nested{v.entry()}
		}
	}
	return nil
}

func fieldOf(s section, name string) *field {
	fields := s.fields()
	for i := range fields {
		if fields[i].name == name {
			return &fields[i]
		}
	}
	return nil
}

// indexOf is the index of the entry of a list that has a name; -1: there is none.
func indexOf(list namedList, entries *jsonValue, name string) int {
	for i, entry := range entries.list {
		if list.key() != "" && entry.called(list.key()) == name {
			return i
		}
	}
	return -1
}

// lay lays a value over another one, which may be nil.
func (o *overlay) lay(path string, of value, base, over *jsonValue) *jsonValue {
	list, isList := of.(namedList)
	switch {
	case over.kind != isObject:
		return over
	case isList && list.key() != "":
		return o.layByName(path, list, base, over)
	}
	if base == nil || base.kind != isObject {
		base = &jsonValue{kind: isObject}
	}
	for _, m := range o.r.members(path, over, "an object") {
		o.layMember(join(path, m.key), of, base, m)
	}
	return base
}

// layMember lays a key's value over that of a value. What is wrong with a key that there isn't the parser says, but of one that was taken back.
func (o *overlay) layMember(path string, of value, base *jsonValue, m member) {
	var f *field
	at, isSection := of.(nested)
	if isSection {
		f = fieldOf(at.section, m.key)
	}
	switch {
	case f != nil && f.fixed != "":
		o.r.problem(path, "", "can't be changed while it runs: it "+f.fixed)
	case m.value.kind == isNull:
		if isSection && f == nil {
			o.r.problem(path, "", unknown(m.key, at.section.fields()))
		}
	default:
		was := base.get(m.key)
		if f != nil && f.kept && m.value.kind != isObject {
			o.keeps(path, f.value.(namedList), was, m.value)
		}
		base.set(m.key, o.lay(path, valueOf(of, m.key), was, m.value))
	}
}

// layByName lays entries over those of a list that have their names.
func (o *overlay) layByName(path string, list namedList, base, over *jsonValue) *jsonValue {
	if base == nil || base.kind != isArray {
		base = &jsonValue{kind: isArray}
	}
	for _, m := range o.r.members(path, over, list.want()) {
		here := join(path, m.key)
		i := indexOf(list, base, m.key)
		switch {
		case i < 0:
			o.r.problem(here, "", "no such "+list.key()+"; "+there(list, base))
		case m.value.kind == isNull:
		case m.value.kind != isObject:
			o.r.problem(here, showType(m.value), "want an object, of what is to change of it, or null to take back what was changed")
		case m.value.get(list.key()) != nil:
			o.r.problem(join(here, list.key()), "", "can't be changed while it runs: it "+known)
		default:
			base.list[i] = o.lay(here, nested{list.entry()}, base.list[i], m.value)
		}
	}
	return base
}

// there says which names a list has.
func there(list namedList, entries *jsonValue) string {
	var names []string
	for _, entry := range entries.list {
		names = append(names, entry.called(list.key()))
	}
	if len(names) == 0 {
		return "there is none"
	}
	return "want " + oneOf(names)
}

// keeps checks that a list which is laid over another one has the same names in the same order.
func (o *overlay) keeps(path string, list namedList, base, over *jsonValue) {
	if over.kind != isArray || base == nil {
		base = &jsonValue{kind: isArray}
	}
	if there(list, over) != there(list, base) {
		o.r.problem(path, "", "its entries can't be added, taken out or renamed while it runs; "+there(list, base)+", in this order, or only those that change, by name")
	}
}

// stored is the text of overrides: without what was taken back, and without what is empty for that. nil: nothing is left.
func stored(v *jsonValue) []byte {
	if v == nil || !strip(v) {
		return nil
	}
	return appendValue(nil, v)
}

// strip takes out of an object what was taken back, and says whether anything is left.
func strip(v *jsonValue) bool {
	v.remove(func(m *member) bool { return m.value.kind == isNull || m.value.kind == isObject && !strip(m.value) })
	return len(v.members) > 0
}

// ErrNotOverridden says that there is nothing to take back.
var ErrNotOverridden = errors.New("nothing is overridden there")

// TakeBack takes the override out that a JSON Pointer (RFC 6901) into the configuration leads to, such as /limits/0/quantity or
// /limits/user-tokens/quantity, with all that is below it. What is left may be nil. The configuration may not fit without it: ParseWith says.
func TakeBack(file, overrides []byte, pointer string) ([]byte, error) {
	o := overlay{}
	base, laid := o.parse(file), o.parse(overrides)
	if len(o.r.errs) > 0 {
		return nil, o.r.all()
	}
	if !strings.HasPrefix(pointer, "/") || laid == nil {
		return nil, ErrNotOverridden
	}
	tokens := strings.Split(pointer[1:], "/")
	var of value = nested{&Config{}}
	at := laid
	for i, token := range tokens {
		token = strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~")
		if list, isList := of.(namedList); isList && list.key() != "" {
			token = nameOf(list, base, token)
		}
		next := at.get(token)
		if at.kind != isObject || next == nil {
			return nil, ErrNotOverridden
		}
		if i == len(tokens)-1 {
			at.remove(func(m *member) bool { return m.key == token })
			return stored(laid), nil
		}
		if of != nil {
			base = step(of, base, token)
			of = valueOf(of, token)
		}
		at = next
	}
	return nil, ErrNotOverridden
}

// nameOf is the name of the entry that a pointer's token leads to, by its index or its name.
func nameOf(list namedList, entries *jsonValue, token string) string {
	if i, err := strconv.Atoi(token); err == nil && entries != nil && i >= 0 && i < len(entries.list) {
		return entries.list[i].called(list.key())
	}
	return token
}

// step goes from a value of the file to that of one of its keys; nil: it has none.
func step(of value, base *jsonValue, key string) *jsonValue {
	if base == nil {
		return nil
	}
	if list, isList := of.(namedList); isList {
		if i := indexOf(list, base, key); i >= 0 {
			return base.list[i]
		}
		return nil
	}
	return base.get(key)
}
