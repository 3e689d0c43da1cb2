package config

import (
	"slices"
	"strconv"
)

// mostMembers bounds the keys and users of all groups: each is looked up with a request, and held by each worker.
const mostMembers = 10_000

func (g *Group) fields() []field {
	return []field{
		stringSet("keys", &g.Keys, keyHashes, "Of each key its SHA-256: sha256: and 64 hexadecimal digits, of the key as it is sent without \"Bearer \"."),
		stringSet("users", &g.Users, someValue, "Names of users, as identity.user reads them."),
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
	of := map[string]string{} // the group of each member; what is sorted by functions of its own costs the module 10 KB each time
	for g := range i.Groups {
		group := &i.Groups[g]
		at := join(join(path, "groups"), group.Name)
		for _, members := range [...]struct {
			key  string
			list []string
		}{{"keys", group.Keys}, {"users", group.Users}} {
			for n, member := range members.list {
				name := members.key + " " + member
				if other, known := of[name]; known {
					r.problem(index(join(at, members.key), n), "", "is in the group "+quote(other)+", too; want each in one group")
				}
				of[name] = group.Name
			}
		}
	}
	if len(of) > mostMembers {
		r.problem(join(path, "groups"), "", strconv.Itoa(len(of))+" keys and users; want at most "+strconv.Itoa(mostMembers)+
			": put so many into a claim of their tokens, and take that for the tenant")
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
