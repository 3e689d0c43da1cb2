package config

import (
	"fmt"
	"strings"
	"testing"
)

const keyOfFoo = "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"

func TestNobodyIsInTwoGroups(t *testing.T) {
	many := func(n int) string {
		var users []string
		for i := range n {
			users = append(users, fmt.Sprintf("%q", fmt.Sprint("u", i)))
		}
		return strings.Join(users, ",")
	}
	const per = `,"limits":[{"name":"a","per":["group"],"unit":"requests","quantity":1,"window":"1s"}]`
	for _, test := range []struct{ groups, rest, want string }{
		{`{"a":{"users":["ann"]},"b":{"users":["bob"]}}`, per, ""},
		{`{"a":{"users":["ann"]},"b":{"users":["ann"]}}`, per, `identity.groups.b.users[0]: is in the group "a", too; want each in one group`},
		{`{"a":{"keys":["` + keyOfFoo + `"]},"b":{"keys":["` + strings.ToUpper(keyOfFoo[7:]) + `"]}}`, per, "identity.groups.b.keys[0]"},
		{`{"a":{"keys":["` + keyOfFoo + `"]},"b":{"keys":["sha256:` + strings.ToUpper(keyOfFoo[7:]) + `"]}}`, per, "too; want each in one group"},
		{`{"a":{"users":["ann","ann"]}}`, per, "given twice"},
		{`{"a":{"keys":["sk-secret"]}}`, per, "identity.groups.a.keys[0]"},
		{`{"a b":{}}`, per, "wrong key"},
		{`{"a":{},"a":{}}`, per, "duplicate key"},
		{`{"a":{"members":[]}}`, per, "unknown key"},
		{`[]`, per, "want an object, of groups by their names"},
		{`{}`, per, "limits[0]: depends on groups, of which there are none; want identity.groups, too"},
		{`{}`, strings.Replace(per, `"per":["group"]`, `"match":{"groups":["a*"]}`, 1), "limits[0]: depends on groups"},
		{`{"a":{"users":[` + many(mostMembers) + `]}}`, per, ""},
		{`{"a":{"users":[` + many(mostMembers) + `]},"b":{"users":["bob"]}}`, per, "10001 keys and users; want at most 10000"},
	} {
		_, err := Parse([]byte(`{"identity":{"groups":` + test.groups + `}` + test.rest + `}`))
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%.100s: %v, want %s", test.groups, err, test.want)
		}
	}
}

// Members change while the filter runs, and what comes of it is checked as the file is.
func TestOverridesChangeMembers(t *testing.T) {
	file := []byte(`{"identity":{"groups":{"a":{"users":["ann"]},"b":{"users":["bob"]}}}}`)
	c, kept, err := Patch(file, nil, []byte(`{"identity":{"groups":{"a":{"users":["ann","eve"]},"c":{"keys":["`+keyOfFoo+`"]}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(c.Identity.Groups), fmt.Sprintf("[{a [] [ann eve]} {b [] [bob]} {c [%s] []}]", keyOfFoo); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if _, _, err := Patch(file, kept, []byte(`{"identity":{"groups":{"b":{"users":["eve"]}}}}`)); err == nil {
		t.Error("eve is in two groups")
	}
	left, err := TakeBack(file, kept, "/identity/groups/a")
	if err != nil {
		t.Fatal(err)
	}
	if c, err = ParseWith(file, left); err != nil || fmt.Sprint(c.Identity.Groups[0]) != "{a [] [ann]}" {
		t.Errorf("taken back: %v, %v", c.Identity.Groups, err)
	}
}
