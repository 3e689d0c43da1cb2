package config

import (
	"errors"
	"strconv"
	"strings"

	"github.com/valyala/fastjson"
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
func Patch(file, overrides, patch []byte) (Config, []byte, error) {
	if len(patch) > MostOverrides {
		return Config{}, nil, fieldErrors{{problem: "the patch is longer than " + strconv.Itoa(MostOverrides) + " bytes"}}
	}
	o := overlay{}
	base, laid, change := o.parse(file), o.parse(overrides), o.parse(patch)
	if len(o.r.errs) > 0 {
		return Config{}, nil, o.r.all()
	}
	if change != nil && change.Type() != fastjson.TypeObject {
		return Config{}, nil, fieldErrors{{value: showType(change), problem: "want an object, of what is to change"}}
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
	r     reader
	arena fastjson.Arena
}

// parse reads a document; nil is nothing at all, and null.
func (o *overlay) parse(text []byte) *fastjson.Value {
	v, problem := parseJSON(string(text))
	if problem != "" {
		o.r.problem("", "", problem)
		return nil
	}
	if v != nil && v.Type() == fastjson.TypeNull {
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

// keptList is one whose entries no override adds, takes out or renames.
type keptList struct{ namedList }

// merge changes a target by a patch, as RFC 7396 has it, but that null stays, for lay to see what it stands for, and that what is by name goes
// into a list that is not. of is what it is the value of; nil: of a key that there isn't.
func (o *overlay) merge(path string, of value, target, patch *fastjson.Value) *fastjson.Value {
	if patch.Type() != fastjson.TypeObject {
		return patch
	}
	named, isNamed := of.(namedList)
	if isNamed && target != nil && target.Type() == fastjson.TypeArray {
		for _, m := range o.r.members(path, patch, named.want()) {
			if i := indexOf(named, target, m.key); i >= 0 && m.value.Type() == fastjson.TypeObject {
				target.SetArrayItem(i, o.merge(join(path, m.key), nested{named.entry()}, target.GetArray()[i], m.value))
			} else {
				o.r.problem(join(path, m.key), "", "the list is overridden as a whole; take that back first")
			}
		}
		return target
	}
	if target == nil || target.Type() != fastjson.TypeObject {
		target = o.arena.NewObject()
	}
	for _, m := range o.r.members(path, patch, "an object") {
		target.Set(m.key, o.merge(join(path, m.key), valueOf(of, m.key), target.Get(m.key), m.value))
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
func indexOf(list namedList, entries *fastjson.Value, name string) int {
	for i, entry := range entries.GetArray() {
		if list.key() != "" && string(entry.GetStringBytes(list.key())) == name {
			return i
		}
	}
	return -1
}

// lay lays a value over another one, which may be nil.
func (o *overlay) lay(path string, of value, base, over *fastjson.Value) *fastjson.Value {
	list, isList := of.(namedList)
	_, isKept := of.(keptList)
	switch {
	case over.Type() != fastjson.TypeObject:
		if isKept {
			o.keeps(path, list, base, over)
		}
		return over
	case isList && list.key() != "":
		return o.layByName(path, list, base, over)
	}
	if base == nil || base.Type() != fastjson.TypeObject {
		base = o.arena.NewObject()
	}
	for _, m := range o.r.members(path, over, "an object") {
		o.layMember(join(path, m.key), of, base, m)
	}
	return base
}

// layMember lays a key's value over that of a value. What is wrong with a key that there isn't the parser says, but of one that was taken back.
func (o *overlay) layMember(path string, of value, base *fastjson.Value, m member) {
	var f *field
	at, isSection := of.(nested)
	if isSection {
		f = fieldOf(at.section, m.key)
	}
	switch {
	case f != nil && f.fixed != "":
		o.r.problem(path, "", "can't be changed while it runs: it "+f.fixed)
	case m.value.Type() == fastjson.TypeNull:
		if isSection && f == nil {
			o.r.problem(path, "", unknown(m.key, at.section.fields()))
		}
	default:
		base.Set(m.key, o.lay(path, valueOf(of, m.key), base.Get(m.key), m.value))
	}
}

// layByName lays entries over those of a list that have their names.
func (o *overlay) layByName(path string, list namedList, base, over *fastjson.Value) *fastjson.Value {
	if base == nil || base.Type() != fastjson.TypeArray {
		base = o.arena.NewArray()
	}
	for _, m := range o.r.members(path, over, list.want()) {
		here := join(path, m.key)
		i := indexOf(list, base, m.key)
		switch {
		case i < 0:
			o.r.problem(here, "", "no such "+list.key()+"; "+there(list, base))
		case m.value.Type() == fastjson.TypeNull:
		case m.value.Type() != fastjson.TypeObject:
			o.r.problem(here, showType(m.value), "want an object, of what is to change of it, or null to take back what was changed")
		case m.value.Get(list.key()) != nil:
			o.r.problem(join(here, list.key()), "", "can't be changed while it runs: it "+known)
		default:
			base.SetArrayItem(i, o.lay(here, nested{list.entry()}, base.GetArray()[i], m.value))
		}
	}
	return base
}

// there says which names a list has.
func there(list namedList, entries *fastjson.Value) string {
	var names []string
	for _, entry := range entries.GetArray() {
		names = append(names, string(entry.GetStringBytes(list.key())))
	}
	if len(names) == 0 {
		return "there is none"
	}
	return "want " + oneOf(names)
}

// keeps checks that a list which is laid over another one has the same names in the same order.
func (o *overlay) keeps(path string, list namedList, base, over *fastjson.Value) {
	if over.Type() != fastjson.TypeArray || base == nil {
		base = o.arena.NewArray()
	}
	if there(list, over) != there(list, base) {
		o.r.problem(path, "", "its entries can't be added, taken out or renamed while it runs; "+there(list, base)+", in this order, or only those that change, by name")
	}
}

// stored is the text of overrides: without what was taken back, and without what is empty for that. nil: nothing is left.
func stored(v *fastjson.Value) []byte {
	if v == nil || !strip(v) {
		return nil
	}
	return appendValue(nil, v)
}

// strip takes out of an object what was taken back, and says whether anything is left.
func strip(v *fastjson.Value) bool {
	var gone []string
	left := false
	v.GetObject().Visit(func(key []byte, value *fastjson.Value) {
		if value.Type() == fastjson.TypeNull || value.Type() == fastjson.TypeObject && !strip(value) {
			gone = append(gone, string(key))
		} else {
			left = true
		}
	})
	for _, key := range gone {
		v.Del(key)
	}
	return left
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
		next := at.Get(token)
		if at.Type() != fastjson.TypeObject || next == nil {
			return nil, ErrNotOverridden
		}
		if i == len(tokens)-1 {
			at.Del(token)
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
func nameOf(list namedList, entries *fastjson.Value, token string) string {
	if i, err := strconv.Atoi(token); err == nil && entries != nil && i >= 0 && i < len(entries.GetArray()) {
		return string(entries.GetArray()[i].GetStringBytes(list.key()))
	}
	return token
}

// step goes from a value of the file to that of one of its keys; nil: it has none.
func step(of value, base *fastjson.Value, key string) *fastjson.Value {
	if base == nil {
		return nil
	}
	if list, isList := of.(namedList); isList {
		if i := indexOf(list, base, key); i >= 0 {
			return base.GetArray()[i]
		}
		return nil
	}
	return base.Get(key)
}
