package ident

import (
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/config"
)

// sum stands in for the keyed hash.
func sum(b []byte) uint64 {
	n := uint64(7)
	for _, c := range b {
		n = n*31 + uint64(c)
	}
	return n
}

// read reads the caller of a request with the headers, as the configuration says.
func read(t *testing.T, configuration string, needs []string, headers ...[2]string) (Caller, *Refusal) {
	t.Helper()
	cfg, err := config.Parse([]byte(configuration))
	if err != nil {
		t.Fatal(err)
	}
	var picker Picker
	identity := New(&cfg, &picker, nothing{}, sum, needs)
	var picked Headers
	picker.Pick(headers, &picked)
	return identity.Read(&picked)
}

func TestCallersAreReadFromTheirHeaders(t *testing.T) {
	const standard = `{}`
	tests := []struct {
		name, configuration string
		headers             [][2]string
		want                Caller
	}{
		{"user and tenant", standard, [][2]string{{"x-user-id", "alice"}, {"x-tenant-id", "acme"}},
			Caller{User: "alice", Tenant: "acme", Key: "anonymous", Priority: config.Normal}},
		{"nobody", standard, nil, Caller{User: "anonymous", Tenant: "anonymous", Key: "anonymous", Priority: config.Normal}},
		{"blanks are nobody", standard, [][2]string{{"x-user-id", " \t"}},
			Caller{User: "anonymous", Tenant: "anonymous", Key: "anonymous", Priority: config.Normal}},
		{"white space around a value is no part of it", standard, [][2]string{{"x-user-id", " alice "}},
			Caller{User: "alice", Tenant: "anonymous", Key: "anonymous", Priority: config.Normal}},
		{"missing ones have the name that was given", `{"identity":{"missing":"nobody"}}`, nil,
			Caller{User: "nobody", Tenant: "nobody", Key: "nobody", Priority: config.Normal}},
		{"the first header present counts", `{"identity":{"user":{"headers":["x-a","x-b","x-c"]}}}`,
			[][2]string{{"x-c", "c"}, {"x-b", "b"}, {"x-a", ""}},
			Caller{User: "b", Tenant: "anonymous", Key: "anonymous", Priority: config.Normal}},
		{"names may be configured in capitals", `{"identity":{"user":{"headers":["X-User"]}}}`, [][2]string{{"x-user", "alice"}},
			Caller{User: "alice", Tenant: "anonymous", Key: "anonymous", Priority: config.Normal}},
		{"one header may be two parts", `{"identity":{"user":{"headers":["x-a"]},"tenant":{"headers":["x-a"]}}}`, [][2]string{{"x-a", "both"}},
			Caller{User: "both", Tenant: "both", Key: "anonymous", Priority: config.Normal}},
		{"other headers are nothing", standard, [][2]string{{"x-user", "alice"}, {"cookie", "x-user-id=eve"}},
			Caller{User: "anonymous", Tenant: "anonymous", Key: "anonymous", Priority: config.Normal}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, refusal := read(t, test.configuration, nil, test.headers...)
			if refusal != nil || got != test.want {
				t.Errorf("got %+v, %+v, want %+v", got, refusal, test.want)
			}
		})
	}
}

// Where nothing depends on the key, credentials that can't be read as one key are none of our business.
func TestCredentialsOfOtherSchemesPass(t *testing.T) {
	const nothing, perKey = ``, `,"limits":[{"name":"k","per":["key"],"unit":"requests","quantity":1,"window":"1h"}]`
	for _, test := range []struct {
		headers       [][2]string
		configuration string
		key           string // "": refused
	}{
		{[][2]string{{"authorization", `Custom a="1", b="2"`}}, nothing, "anonymous"},
		{[][2]string{{"authorization", `Custom a="1", b="2"`}}, perKey, ""},
		{[][2]string{{"x-api-key", "two words"}}, nothing, "anonymous"},
		{[][2]string{{"x-api-key", "two words"}}, perKey, ""},
		{[][2]string{{":path", "/search?key=a&key=b"}}, nothing, "anonymous"},
		{[][2]string{{":path", "/search?key=a&key=b"}}, perKey, ""},
		{[][2]string{{"authorization", `Digest username="ann", realm="r", nonce="1", uri="/", response="2"`}}, perKey, "ann"},
		{[][2]string{{"authorization", `Digest realm="r", username="ann", nonce="3"`}}, perKey, "ann"},
		{[][2]string{{"authorization", `Digest username="ann", username="bob"`}}, perKey, ""},
		{[][2]string{{"authorization", `OAuth oauth_consumer_key="k1", oauth_nonce="1"`}}, perKey, "k1"},
		{[][2]string{{"authorization", `Signature keyId="k1",algorithm="hs2019",headers="host date",signature="x"`}}, perKey, "k1"},
		{[][2]string{{"authorization", `Hawk id="k1", ts="1", mac="x"`}}, perKey, "k1"},
	} {
		got, refusal := read(t, `{"identity":{"key":{"hash":false}}`+test.configuration+`}`, nil, test.headers...)
		if (refusal == nil) != (test.key != "") || refusal == nil && got.Key != test.key {
			t.Errorf("%v, %s: %+v, %+v", test.headers, test.configuration, got, refusal)
		}
	}
}

func TestHeadersOfAnIdentityMustNotBeRepeated(t *testing.T) {
	const limits = `"limits":[{"name":"l","per":["user","tenant","key"],"unit":"requests","quantity":1,"window":"1h"}]`
	const all, two = `{` + limits + `}`, `{"identity":{"user":{"headers":["x-a","x-b"]}},` + limits + `}`
	tests := []struct {
		name          string
		configuration string
		headers       [][2]string
		want          string // the header to blame
	}{
		{"twice the same", all, [][2]string{{"x-user-id", "alice"}, {"x-user-id", "alice"}}, "x-user-id"},
		{"twice, once blank", all, [][2]string{{"x-user-id", ""}, {"x-user-id", "alice"}}, "x-user-id"},
		{"three hundred times", all, repeat([2]string{"x-tenant-id", "acme"}, 300), "x-tenant-id"},
		{"a key", all, [][2]string{{"authorization", "a"}, {"authorization", "b"}}, "authorization"},
		{"a second choice, where the first is missing", two, [][2]string{{"x-b", "b"}, {"x-b", "b"}}, "x-b"},
		{"a second choice, where the first is there", two, [][2]string{{"x-b", "b"}, {"x-b", "b"}, {"x-a", "a"}}, ""},
		{"a header that is no identity", all, [][2]string{{"cookie", "a"}, {"cookie", "b"}}, ""},
		{"the priority", all, [][2]string{{"x-priority", "low"}, {"x-priority", "high"}}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, refusal := read(t, test.configuration, nil, test.headers...)
			if test.want == "" {
				if refusal != nil {
					t.Errorf("refused: %+v", *refusal)
				}
				return
			}
			if refusal == nil || *refusal != (Refusal{Reason: "repeated_header", Header: test.want}) {
				t.Errorf("got %+v", refusal)
			}
		})
	}
}

func repeat(header [2]string, n int) (all [][2]string) {
	for range n {
		all = append(all, header)
	}
	return all
}

func TestAMissingIdentityIsRefusedOnlyWhereItIsNeeded(t *testing.T) {
	const reject = `{"identity":{"missing":"reject"}}`
	all := [][2]string{{"x-user-id", "u"}, {"x-tenant-id", "t"}, {"x-api-key", "k"}}
	tests := []struct {
		name, configuration string
		needs               []string
		headers             [][2]string
		want                string
	}{
		{"nothing is needed", reject, nil, nil, ""},
		{"other things are needed", reject, []string{"model", "priority", "header:x-user-id"}, nil, ""},
		{"the user is needed", reject, []string{"model", "user"}, all[1:], "x-user-id"},
		{"the tenant is needed", reject, []string{"tenant"}, all[:1], "x-tenant-id"},
		{"the key is needed", reject, []string{"key"}, all[:2], "authorization"},
		{"a blank is missing", reject, []string{"user"}, [][2]string{{"x-user-id", " "}}, "x-user-id"},
		{"all is needed and there", reject, []string{"user", "tenant", "key", "user"}, all, ""},
		{"needed, but anonymous will do", `{}`, []string{"user", "tenant", "key"}, nil, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, refusal := read(t, test.configuration, test.needs, test.headers...)
			if test.want == "" {
				if refusal != nil {
					t.Errorf("refused: %+v", *refusal)
				}
				return
			}
			if refusal == nil || *refusal != (Refusal{Reason: "missing", Header: test.want, Missing: true}) {
				t.Errorf("got %+v", refusal)
			}
		})
	}
}

// In shadow mode a refused request goes on: it is then judged as if what is wrong with it were absent.
func TestACallerThatIsRefusedIsStillRead(t *testing.T) {
	const configuration = `{"identity":{"missing":"reject","user":{"headers":["x-user-id"],"hash":true}},"priority":{"default":"high"},
		"limits":[{"name":"l","per":["user","tenant","key"],"unit":"requests","quantity":1,"window":"1h"}]}`
	for name, headers := range map[string][][2]string{
		"a part is missing":     {{"x-user-id", "secret"}},
		"a header is repeated":  {{"x-user-id", "secret"}, {"x-tenant-id", "a"}, {"x-tenant-id", "b"}},
		"the last is repeated":  {{"x-user-id", "secret"}, {"x-tenant-id", "t"}, {"authorization", "a"}, {"authorization", "b"}},
		"the first is repeated": {{"x-user-id", "a"}, {"x-user-id", "b"}, {"x-tenant-id", "t"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, refusal := read(t, configuration, []string{"tenant"}, headers...)
			if refusal == nil {
				t.Fatal("not refused")
			}
			if got.Priority != config.High {
				t.Errorf("priority %v", got.Priority)
			}
			if strings.Contains(got.User, "secret") || got.User == "" || got.Tenant == "" || got.Key == "" {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestAHashedValueIsNeverShown(t *testing.T) {
	const value = "sk-secret-value"
	got, _ := read(t, `{"identity":{"user":{"headers":["x-user-id"],"hash":true}}}`, nil,
		[2]string{"x-api-key", value}, [2]string{"x-user-id", value})
	other, _ := read(t, `{}`, nil, [2]string{"api-key", "another"})
	for _, shown := range []string{got.Key, got.User} {
		if strings.Contains(shown, "secret") || !strings.HasPrefix(shown, "#") || len(shown) < 2 {
			t.Errorf("shown as %q", shown)
		}
	}
	if got.Key == other.Key {
		t.Error("two keys are one")
	}
}

// The scheme is no part of a key, nor is the header that it comes in.
func TestAKeyIsTheSameInWhicheverHeader(t *testing.T) {
	want, _ := read(t, `{}`, nil, [2]string{"x-api-key", "k1"})
	for name, header := range map[string][2]string{
		"bearer":              {"authorization", "Bearer k1"},
		"bearer, other case":  {"authorization", "bearer  k1"},
		"without a scheme":    {"authorization", "k1"},
		"another header":      {"api-key", "k1"},
		"white space goes":    {"x-api-key", " k1 "},
		"another key differs": {"authorization", "Bearer k2"},
	} {
		got, _ := read(t, `{}`, nil, header)
		if same := got.Key == want.Key; same != (header[1] != "Bearer k2") {
			t.Errorf("%s: %q and %q", name, got.Key, want.Key)
		}
	}
}

func TestPriorities(t *testing.T) {
	const rules = `{"priority":{"default":"normal","rules":[
		{"match":{"tenants":["batch-*"]},"max":"low"},
		{"match":{"users":["oncall"]},"set":"urgent"},
		{"match":{"keys":["sk-slow*"],"tenants":["acme"]},"set":"low"},
		{"match":{"tenants":["*"]},"max":"high"}]}}`
	tests := []struct {
		name, configuration, claimed string
		headers                      [][2]string
		want                         config.Priority
	}{
		{"claimed in capitals", `{}`, "URGENT", nil, config.Urgent},
		{"claimed in small letters, with blanks", `{}`, " low ", nil, config.Low},
		{"medium is normal", `{"priority":{"default":"low"}}`, "Medium", nil, config.Normal},
		{"unknown is the default", `{"priority":{"default":"high"}}`, "vip", nil, config.High},
		{"absent is the default", `{"priority":{"default":"low"}}`, "", nil, config.Low},
		{"another header", `{"priority":{"header":"x-rank"}}`, "", [][2]string{{"x-rank", "high"}}, config.High},
		{"the client is ignored", `{"priority":{"header":""}}`, "urgent", nil, config.Normal},
		{"a cap lowers", rules, "urgent", [][2]string{{"x-tenant-id", "batch-7"}}, config.Low},
		{"a cap does not raise", rules, "low", [][2]string{{"x-tenant-id", "acme"}}, config.Low},
		{"the cap of everyone else", rules, "urgent", [][2]string{{"x-tenant-id", "acme"}}, config.High},
		{"everyone includes those without a name", rules, "urgent", nil, config.High},
		{"set raises", rules, "low", [][2]string{{"x-user-id", "oncall"}}, config.Urgent},
		{"the first match wins", rules, "", [][2]string{{"x-user-id", "oncall"}, {"x-tenant-id", "batch-7"}}, config.Low},
		{"a key is matched before it is hashed", rules, "high", [][2]string{{"x-api-key", "sk-slow1"}, {"x-tenant-id", "acme"}}, config.Low},
		{"all parts of a rule must match", rules, "high", [][2]string{{"x-api-key", "sk-slow1"}, {"x-tenant-id", "else"}}, config.High},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			headers := test.headers
			if test.claimed != "" {
				headers = append(headers, [2]string{"x-priority", test.claimed})
			}
			got, refusal := read(t, test.configuration, nil, headers...)
			if refusal != nil || got.Priority != test.want {
				t.Errorf("got %v, %+v, want %v", got.Priority, refusal, test.want)
			}
		})
	}
}

// Who may not set the priority has the default one, within what the rules say.
func TestOnlyWhoIsTrustedSetsHisPriority(t *testing.T) {
	const some = `{"priority":{"trust":[{"match":{"tenants":["web"]}},{"match":{"users":["ops-*"],"keys":["sk-int*"]}}],
		"rules":[{"match":{"users":["ops-low"]},"max":"low"},{"match":{"users":["oncall"]},"set":"urgent"}]}}`
	for _, test := range []struct {
		name, configuration string
		headers             [][2]string
		want                config.Priority
		untrusted           bool
	}{
		{"everybody, where nothing is said", `{}`, nil, config.Urgent, false},
		{"nobody", `{"priority":{"trust":[]}}`, nil, config.Normal, true},
		{"nobody, with another default", `{"priority":{"trust":[],"default":"low"}}`, nil, config.Low, true},
		{"everybody, said", `{"priority":{"trust":[{}]}}`, nil, config.Urgent, false},
		{"a stranger", some, nil, config.Normal, true},
		{"a tenant", some, [][2]string{{"x-tenant-id", "web"}}, config.Urgent, false},
		{"a user without the key", some, [][2]string{{"x-user-id", "ops-1"}}, config.Normal, true},
		{"a user with the key", some, [][2]string{{"x-user-id", "ops-1"}, {"authorization", "Bearer sk-int1"}}, config.Urgent, false},
		{"and a rule", some, [][2]string{{"x-user-id", "ops-low"}, {"x-tenant-id", "web"}}, config.Low, false},
		{"a rule sets it for a stranger", some, [][2]string{{"x-user-id", "oncall"}}, config.Urgent, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, refusal := read(t, test.configuration, nil, append(test.headers, [2]string{"x-priority", "urgent"})...)
			if refusal != nil || got.Priority != test.want || got.Untrusted != test.untrusted {
				t.Errorf("got %+v, %+v, want %v", got, refusal, test.want)
			}
		})
	}
	if _, refusal := read(t, some, nil, [2]string{"authorization", "sk-int1"}, [2]string{"x-api-key", "mine"}); refusal == nil {
		t.Error("two keys, one of which is trusted, pass")
	}
}

// An inference gateway's objectives stand for priorities, believed from whom a priority would be; the lowest counts of all that is said.
func TestObjectivesStandForPriorities(t *testing.T) {
	const standard = `{"priority":{"objectives":{"premium":"high","batch":"low","now":"urgent"},"trust":[{"match":{"tenants":["web"]}}]}}`
	const alone = `{"priority":{"header":"","default":"low","objectiveHeader":"x-llm-d-inference-objective","objectives":{"premium":"high"}}}`
	aim := func(v string) [2]string { return [2]string{"x-gateway-inference-objective", v} }
	web := [2]string{"x-tenant-id", "web"}
	for _, test := range []struct {
		configuration string
		headers       [][2]string
		want          config.Priority
	}{
		{standard, [][2]string{web, aim("premium")}, config.High},
		{standard, [][2]string{web, aim(" premium\t")}, config.High},
		{standard, [][2]string{web, aim("Premium")}, config.Normal},
		{standard, [][2]string{web, aim("prémium")}, config.Normal},
		{standard, [][2]string{web, aim("")}, config.Normal},
		{standard, [][2]string{web, aim("high")}, config.Normal}, // its name is another one
		{standard, [][2]string{web, aim("now"), aim("batch")}, config.Low},
		{standard, [][2]string{web, aim("now,batch")}, config.Low},
		{standard, [][2]string{web, aim("now, unknown")}, config.Urgent},
		{standard, [][2]string{web, aim("now"), {"x-priority", "low"}}, config.Low},
		{standard, [][2]string{web, aim("batch"), {"x-priority", "urgent"}}, config.Low},
		{standard, [][2]string{web, aim("unknown"), {"x-priority", "urgent"}}, config.Urgent},
		{standard, [][2]string{aim("now")}, config.Normal},
		{alone, [][2]string{{"x-llm-d-inference-objective", "premium"}, {"x-priority", "urgent"}}, config.High},
		{alone, [][2]string{aim("premium"), {"x-priority", "urgent"}}, config.Low},
		{`{}`, [][2]string{aim("premium")}, config.Normal},
	} {
		if got, refusal := read(t, test.configuration, nil, test.headers...); refusal != nil || got.Priority != test.want {
			t.Errorf("%q: %v, %+v; want %v", test.headers, got.Priority, refusal, test.want)
		}
	}
}

func TestHeadersArePickedOnce(t *testing.T) {
	var picker Picker
	a, again, b := picker.Want("a"), picker.Want("a"), picker.Want("b")
	if a != again || a == b {
		t.Errorf("slots %d, %d, %d", a, again, b)
	}
	var h Headers
	if h.Get(b) != "" || h.Repeated(b) {
		t.Error("headers that were never picked hold something")
	}
	picker.Pick([][2]string{{"b", "1"}, {"c", "2"}, {"b", "3"}}, &h)
	if h.Get(a) != "" || h.Repeated(a) || h.Get(b) != "1" || !h.Repeated(b) {
		t.Errorf("%+v", h)
	}
	picker.Pick([][2]string{{"a", "4"}}, &h)
	if h.Get(a) != "4" || h.Get(b) != "" || h.Repeated(b) {
		t.Errorf("the second time: %+v", h)
	}
}

// Keys that have much in common, as those of one provider have, are different subjects: every character counts.
// What is repeated, and what is a list, is gone through in its order.
func TestTheValuesOfAHeader(t *testing.T) {
	var p Picker
	slot, other := p.Want("x-a"), p.Want("x-b")
	var h Headers
	for _, test := range []struct {
		headers [][2]string
		want    string
	}{
		{nil, ""},
		{[][2]string{{"x-b", "1"}, {"x-b", "2"}}, ""},
		{[][2]string{{"x-a", ""}}, "<>"},
		{[][2]string{{"x-a", " 1 "}}, "< 1 >"},
		{[][2]string{{"x-a", "1, 2\t,,3"}}, "<1, 2\t,,3><1><2><><3>"},
		{[][2]string{{"x-a", ","}, {"x-b", "3"}, {"x-a", "4"}, {"x-b", "5"}, {"x-a", "6,7"}}, "<,><><><4><6,7><6><7>"},
	} {
		p.Pick(test.headers, &h)
		got, values := "", h.Values(slot)
		for values.Next() {
			got += "<" + values.Value + ">"
		}
		if got != test.want {
			t.Errorf("%q: got %s, want %s", test.headers, got, test.want)
		}
		for beside := h.Values(other + 1); beside.Next(); {
			t.Errorf("%q: a slot that there isn't has %q", test.headers, beside.Value)
		}
	}
}

func TestTheWholeKeyCounts(t *testing.T) {
	hashed := `{"identity":{"user":{"headers":["x-user-id"],"hash":true},"tenant":{"headers":["x-tenant-id"],"hash":true}}}`
	for _, length := range []int{1, 16, 17, 32, 51, 164, 1000} {
		key := strings.Repeat("sk-proj-", length/8+1)[:length]
		seen := map[string]int{}
		for i := -1; i < length; i++ {
			value := []byte(key)
			if i >= 0 {
				value[i] = '_'
			}
			c, refusal := read(t, hashed, nil, [2]string{"x-api-key", string(value)}, [2]string{"x-user-id", string(value)}, [2]string{"x-tenant-id", string(value)})
			if refusal != nil {
				t.Fatal(refusal)
			}
			for _, part := range []string{"key " + c.Key, "user " + c.User, "tenant " + c.Tenant} {
				if other, twice := seen[part]; twice {
					t.Fatalf("%d characters: a change of number %d is taken for one of number %d", length, i, other)
				}
				seen[part] = i
			}
		}
	}
}

// A caller is read without an allocation, once some were.
func TestReadingACallerAllocatesNothing(t *testing.T) {
	c, err := config.Parse([]byte(`{"identity":{"user":{"headers":["x-user-id"],"query":["user"]},"tenant":{"hash":true}},
		"priority":{"rules":[{"match":{"tenants":["t*"]},"max":"high"}]},
		"limits":[{"name":"l","per":["user","key","header:x-team"],"unit":"requests","quantity":1,"window":"1m"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	var p Picker
	identity := New(&c, &p, nothing{}, func(b []byte) uint64 { return uint64(len(b)) << 40 }, []string{"user", "key"})
	headers := [][2]string{{":path", "/v1?user=eve"}, {"authorization", "Bearer sk-1"}, {"x-api-key", "sk-1"}, {"x-tenant-id", "team"}, {"x-priority", "urgent, low"}, {"x-team", "red"}}
	var h Headers
	read := func() {
		p.Pick(headers, &h)
		if caller, refusal := identity.Read(&h); refusal != nil || caller.User != "eve" || len(caller.Key) < 2 || caller.Tenant == "team" || caller.Priority != config.Low {
			t.Fatalf("%+v, %+v", caller, refusal)
		}
	}
	read()
	if n := testing.AllocsPerRun(100, read); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Who sends a request doesn't depend on the order of its headers, whatever these say, and a key that limits are kept by is never blank.
func FuzzIdentity(f *testing.F) {
	names := []string{"x-user-id", "x-tenant-id", "authorization", "x-api-key", "api-key", "x-goog-api-key", "x-priority", ":path", "x-team"}
	f.Add(uint8(0), "ann", uint8(2), "Bearer k", "/v1/x?key=k&key=k")
	f.Add(uint8(3), "k, l", uint8(4), "Basic azo=", "/v1/x?key=%6b")
	f.Add(uint8(8), "\xff", uint8(7), "/?a", "")
	configuration := func(f *testing.F, part string) (*Picker, *Identity) {
		cfg, err := config.Parse([]byte(`{"identity":{"key":{"headers":["authorization","x-api-key","api-key","x-goog-api-key"],"query":["key"]}},"limits":[
			{"name":"a","per":["` + part + `"],"unit":"requests","quantity":9,"window":"1m"},
			{"name":"b","per":["header:x-team"],"unit":"requests","quantity":9,"window":"1m"}]}`))
		if err != nil {
			f.Fatal(err)
		}
		p := new(Picker)
		return p, New(&cfg, p, nothing{}, sum, []string{part})
	}
	keys, byKey := configuration(f, "key")
	users, byUser := configuration(f, "user")
	f.Fuzz(func(t *testing.T, one uint8, first string, other uint8, second, path string) {
		headers := [][2]string{{names[int(one)%len(names)], first}, {names[int(other)%len(names)], second}, {":path", path}}
		turned := [][2]string{headers[2], headers[1], headers[0]}
		ordered := headers[0][0] != headers[1][0] && headers[0][0] != ":path" && headers[1][0] != ":path"
		for _, x := range []struct {
			picker   *Picker
			identity *Identity
		}{{keys, byKey}, {users, byUser}} {
			var picked, again Headers
			x.picker.Pick(headers, &picked)
			caller, refusal := x.identity.Read(&picked)
			if refusal == nil && (caller.User == "" || caller.Tenant == "" || caller.Key == "") {
				t.Fatalf("%q: %+v", headers, caller)
			}
			x.picker.Pick(turned, &again)
			if got, other := x.identity.Read(&again); ordered && (got != caller || (other == nil) != (refusal == nil)) {
				t.Fatalf("%q: %+v, %v; in another order %+v, %v", headers, caller, refusal, got, other)
			}
		}
	})
}
