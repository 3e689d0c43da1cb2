package ident

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/sha256"
)

// groups finds the group of a caller. Members are sorted, and found by halves: nothing is allocated.
type groups struct {
	keys  []groupKey
	users []groupUser
}

type groupKey struct {
	hash  [32]byte
	group string
}

type groupUser struct{ name, group string }

func newGroups(all []config.Group) (g groups) {
	for i := range all {
		for _, key := range all[i].Keys {
			k := groupKey{group: all[i].Name}
			digits := strings.TrimPrefix(key, config.TokenHash)
			for n := range min(len(k.hash), len(digits)/2) {
				value, _ := strconv.ParseUint(digits[2*n:2*n+2], 16, 8) // the parser has seen to their form
				k.hash[n] = byte(value)
			}
			g.keys = append(g.keys, k)
		}
		for _, user := range all[i].Users {
			g.users = append(g.users, groupUser{user, all[i].Name})
		}
	}
	slices.SortFunc(g.keys, func(a, b groupKey) int { return bytes.Compare(a.hash[:], b.hash[:]) })
	slices.SortFunc(g.users, func(a, b groupUser) int { return strings.Compare(a.name, b.name) })
	return g
}

// of gives the group of a key, else that of a user; "" is none. What is asked for is at its place among the sorted, or nowhere.
func (g *groups) of(user, key string) string {
	if key != "" && len(g.keys) > 0 {
		hash := sha256.Sum(key)
		low, high := 0, len(g.keys)
		for low < high {
			middle := (low + high) / 2
			switch order := bytes.Compare(g.keys[middle].hash[:], hash[:]); {
			case order == 0:
				return g.keys[middle].group
			case order < 0:
				low = middle + 1
			default:
				high = middle
			}
		}
	}
	low, high := 0, len(g.users)
	for user != "" && low < high {
		middle := (low + high) / 2
		switch other := g.users[middle].name; {
		case other == user:
			return g.users[middle].group
		case other < user:
			low = middle + 1
		default:
			high = middle
		}
	}
	return ""
}
