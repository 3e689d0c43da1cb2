package config

import (
	"slices"
	"strconv"
	"strings"
)

// mostMembers bounds the keys and users of all groups: each is looked up with a request, and held by each worker.
const mostMembers = 10_000

func (g *Group) fields() []field {
	return []field{
		stringSet("keys", &g.Keys, keyHashes, "Of each key its SHA-256: sha256: and 64 hexadecimal digits, of the key as it is sent without \"Bearer \"."),
		stringSet("users", &g.Users, someText, "Names of users, as identity.user reads them."),
	}
}

// groups is an object of groups by their names.
type groups struct{ to *[]Group }

func (groups) want() string { return "an object, of groups by their names" }

func (g groups) read(r *reader, path string, v *jsonValue) {
	*g.to = nil
	if v == nil {
		return
	}
	for _, m := range r.members(path, v, g.want()) {
		at := join(path, m.key)
		if _, ok := names.accept(m.key); !ok {
			r.problem(at, "", "wrong key; want "+names.want)
		}
		group := Group{Name: m.key}
		r.section(at, &group, m.value)
		*g.to = append(*g.to, group)
	}
	slices.SortFunc(*g.to, func(a, b Group) int { return strings.Compare(a.Name, b.Name) })
}

func (g groups) describe(s *Schema) {
	s.Type = "object"
	s.Keys, s.Values = &Schema{Pattern: names.pattern}, &Schema{}
	describeSection(s.Values, &Group{})
}

func (g groups) show(b []byte) []byte {
	b = append(b, '{')
	for i := range *g.to {
		if i > 0 {
			b = append(b, ',')
		}
		b = showSection(append(appendString(b, (*g.to)[i].Name), ':'), &(*g.to)[i])
	}
	return append(b, '}')
}

// finish finds who is in two groups.
func (i *Identity) finish(r *reader, path string) {
	type member struct {
		name  string
		group *Group
		at    string
	}
	var members []member
	for g := range i.Groups {
		group := &i.Groups[g]
		at := join(join(path, "groups"), group.Name)
		for n, key := range group.Keys {
			members = append(members, member{"key\x00" + key, group, index(join(at, "keys"), n)})
		}
		for n, user := range group.Users {
			members = append(members, member{user, group, index(join(at, "users"), n)})
		}
	}
	if len(members) > mostMembers {
		r.problem(join(path, "groups"), "", strconv.Itoa(len(members))+" keys and users; want at most "+strconv.Itoa(mostMembers)+
			": put so many into a claim of their tokens, and take that for the tenant")
	}
	slices.SortStableFunc(members, func(a, b member) int { return strings.Compare(a.name, b.name) })
	for n := 1; n < len(members); n++ {
		if members[n].name == members[n-1].name && members[n].group != members[n-1].group {
			r.problem(members[n].at, "", "is in the group "+quote(members[n-1].group.Name)+", too; want each in one group")
		}
	}
}

// finishGroups finds limits per group where there is none.
func (c *Config) finishGroups(r *reader, path string) {
	for i := range c.Limits {
		if l := &c.Limits[i]; len(c.Identity.Groups) == 0 && (slices.Contains(l.Per, PerGroup) || len(l.Match.Groups) > 0) {
			r.problem(index(join(path, "limits"), i), "", "depends on groups, of which there are none; want identity.groups, too")
		}
	}
}
