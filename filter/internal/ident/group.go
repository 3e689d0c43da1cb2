package ident

import (
	"slices"
	"strings"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/inplace"
	"github.com/spillway-proxy/spillway/filter/internal/sha256"
)

// groups finds the group of a caller. Members are sorted, and found by halves: nothing is allocated. Each is one text, his name, a zero
// and the group's name, since texts are what the module can sort already.
type groups struct {
	keys, users []string // a key's name is the bytes of its hash
}

func newGroups(all []config.Group) (g groups) {
	for i := range all {
		for _, key := range all[i].Keys {
			hash := sha256.Parse(strings.TrimPrefix(key, config.TokenHash))
			g.keys = append(g.keys, string(hash[:])+"\x00"+all[i].Name)
		}
		for _, user := range all[i].Users {
			g.users = append(g.users, user+"\x00"+all[i].Name)
		}
	}
	slices.Sort(g.keys)
	slices.Sort(g.users)
	return g
}

// of gives the group of a key, else that of a user; "" is none.
func (g *groups) of(user, key string) string {
	if key != "" && len(g.keys) > 0 {
		hash := sha256.Sum(key)
		if group := member(g.keys, inplace.String(hash[:])); group != "" {
			return group
		}
	}
	if user == "" {
		return ""
	}
	return member(g.users, user)
}

// member gives the group of a member; "" if there is none.
func member(members []string, name string) string {
	at, _ := slices.BinarySearch(members, name)
	// All that begin with the name stand from here on; that which is the name and a zero first of all.
	if at < len(members) && len(members[at]) > len(name) && members[at][len(name)] == 0 && members[at][:len(name)] == name {
		return members[at][len(name)+1:]
	}
	return ""
}
