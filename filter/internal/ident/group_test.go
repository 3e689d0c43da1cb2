package ident

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/config"
)

func hashOf(key string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(key))) }

const perGroup = `,"limits":[{"name":"g","per":["group"],"unit":"requests","quantity":1,"window":"1h"}]}`

func TestGroupsAreOfKeysAndUsers(t *testing.T) {
	identity := fmt.Sprintf(`{"identity":{"groups":{"red":{"keys":[%q,%q],"users":["ann","zoe"]},"blue":{"keys":[%q],"users":["bob"]}}}`,
		hashOf("sk-1"), hashOf("sk-2"), hashOf("sk-3"))
	ann, bob, eve := [2]string{"x-user-id", "ann"}, [2]string{"x-user-id", "bob"}, [2]string{"x-user-id", "eve"}
	key := func(k string) [2]string { return [2]string{"authorization", "Bearer " + k} }
	for _, test := range []struct {
		configuration string
		headers       [][2]string
		want          string // "": refused
	}{
		{identity + perGroup, [][2]string{ann}, "red"},
		{identity + perGroup, [][2]string{{"x-user-id", "zoe"}}, "red"},
		{identity + perGroup, [][2]string{bob}, "blue"},
		{identity + perGroup, [][2]string{key("sk-2")}, "red"},
		{identity + perGroup, [][2]string{key("sk-3")}, "blue"},
		{identity + perGroup, [][2]string{{"x-api-key", "sk-3"}, eve}, "blue"},
		{identity + perGroup, [][2]string{key("sk-3"), ann}, "blue"}, // a key can't be made up
		{identity + perGroup, [][2]string{key("sk-4"), ann}, "red"},
		{identity + perGroup, [][2]string{eve, key("sk-4")}, "anonymous"},
		{identity + perGroup, [][2]string{{"x-user-id", "red"}, key(hashOf("sk-1"))}, "anonymous"},
		{identity + perGroup, [][2]string{{"x-user-id", "Ann"}}, "anonymous"},
		{identity + perGroup, nil, "anonymous"},
		{identity + perGroup, [][2]string{ann, ann}, ""}, // whose group it is depends on the user
		{identity + perGroup, [][2]string{key("sk-1"), {"x-api-key", "sk-3"}}, ""},
		{identity + strings.Replace(perGroup, `"per":["group"]`, `"match":{"groups":["r*"]}`, 1), [][2]string{ann}, "red"},
		{identity + strings.Replace(perGroup, `"unit"`, `"mode":"shadow","unit"`, 1), [][2]string{ann, ann}, "red"},
	} {
		got, refusal := readWith(t, &known{}, test.configuration, test.headers...)
		if (refusal == nil) != (test.want != "") || refusal == nil && got.Group != test.want {
			t.Errorf("%s, %v: %q, %+v, want %q", test.configuration, test.headers, got.Group, refusal, test.want)
		}
	}
}

// Where identities must not be missing, a limit per group is for those who are in one.
func TestWhoIsInNoGroupCanBeRefused(t *testing.T) {
	const configuration = `{"identity":{"missing":"reject","groups":{"red":{"users":["ann"]}}}` + perGroup
	cfg, err := config.Parse([]byte(configuration))
	if err != nil {
		t.Fatal(err)
	}
	for user, refused := range map[string]bool{"ann": false, "eve": true, "": true} {
		var picker Picker
		var picked Headers
		identity := New(&cfg, &picker, nothing{}, sum, []string{"group"})
		picker.Pick([][2]string{{"x-user-id", user}}, &picked)
		if _, refusal := identity.Read(&picked); (refusal != nil) != refused || refused && (!refusal.Missing || refusal.Header != "group") {
			t.Errorf("%q: %+v", user, refusal)
		}
	}
}

// All members are found, and nobody who stands between them; and nothing is allocated for it.
func TestMembersAreFound(t *testing.T) {
	var red, blue config.Group
	red.Name, blue.Name = "red", "blue"
	for i := range 500 {
		g := &red
		if i%3 == 0 {
			g = &blue
		}
		g.Users = append(g.Users, fmt.Sprint("u", i))
		g.Keys = append(g.Keys, hashOf(fmt.Sprint("k", i)))
	}
	all := newGroups([]config.Group{blue, red})
	for i := range 500 {
		want := map[bool]string{true: "blue", false: "red"}[i%3 == 0]
		if got := all.of(fmt.Sprint("u", i), ""); got != want {
			t.Errorf("user %d: %q", i, got)
		}
		if got := all.of("", fmt.Sprint("k", i)); got != want {
			t.Errorf("key %d: %q", i, got)
		}
		if got := all.of(fmt.Sprint("u", i, " "), fmt.Sprint("k", i, " ")); got != "" {
			t.Errorf("nobody is in %q", got)
		}
	}
	long := strings.Repeat("k", 100)
	if n := testing.AllocsPerRun(100, func() { all.of("u77", long) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
