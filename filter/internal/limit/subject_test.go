package limit

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spillway-proxy/spillway/filter/internal/ident"
	"github.com/spillway-proxy/spillway/filter/internal/oneline"
)

// shows gives whom a limit per these parts charges a request to, as it is shown.
func shows(t *testing.T, per string, change func(*world, *Request)) string {
	t.Helper()
	w := newWorld(t, `[{"name":"a","unit":"requests","quantity":1,"window":"1h"},{"name":"b","per":`+per+`,"unit":"requests","quantity":1,"window":"1h"}]`)
	r := request("ann")
	change(w, r)
	return string(w.AppendSubject(nil, &w.limits[1].Limit, r))
}

func TestWhomALimitChargesIsShown(t *testing.T) {
	nothing := func(*world, *Request) {}
	user := func(name string) func(*world, *Request) { return func(_ *world, r *Request) { r.Caller.User = name } }
	key := func(key string) func(*world, *Request) { return func(_ *world, r *Request) { r.Caller.Key = key } }
	header := func(name, value string) func(*world, *Request) {
		return func(w *world, r *Request) { w.picker.Pick([][2]string{{name, value}}, r.Headers) }
	}
	for _, test := range []struct {
		per    string
		change func(*world, *Request)
		want   string
	}{
		{`[]`, nothing, "everybody"},
		{`["user"]`, nothing, "user=ann"},
		{`["tenant","user"]`, nothing, "tenant=tenant user=ann"},
		{`["model","priority"]`, func(_ *world, r *Request) { r.Model = "Llama-3" }, "model=llama-3 priority=NORMAL"},
		{`["user"]`, user("anonymous"), "user=anonymous"},
		{`["user"]`, user(`"><script>`), `user="><script>`},
		{`["user"]`, user("Doe, John tenant=x\n\xff"), "user=Doe,_John_tenant=x__"},
		{`["user"]`, user(strings.Repeat("é", 29) + "x"), "user=" + strings.Repeat("é", 29) + "x"},
		{`["user"]`, user(strings.Repeat("é", 30)), "user=" + strings.Repeat("é", 24) + "…#"},
		{`["user","tenant"]`, user(strings.Repeat("x", 60)), "user=" + strings.Repeat("x", 48) + "…#"},
		{`["key"]`, nothing, "key=h:#"},
		{`["key"]`, key("anonymous"), "key=anonymous"},
		{`["header:x-team"]`, header("x-team", "red"), "header:x-team=red"},
		{`["header:x-team"]`, nothing, "header:x-team="},
		{`["header:x-api-key"]`, header("x-api-key", "sk-1"), "header:x-api-key=h:#"},
		{`["header:` + strings.Repeat("x", 80) + `"]`, nothing, "header:" + strings.Repeat("x", 46) + "…#"},
	} {
		got := regexp.MustCompile(`(h:|…)[0-9a-f]{8}$`).ReplaceAllString(shows(t, test.per, test.change), "$1#")
		if got != test.want {
			t.Errorf("per %s: %q, want %q", test.per, got, test.want)
		}
	}
	w := newWorld(t, `[{"name":"a","unit":"requests","quantity":1,"window":"1h"}]`)
	if got := w.AppendSubject(nil, nil, request("ann")); got != nil {
		t.Errorf("of no limit: %q", got)
	}
}

// What is hashed is told apart, and what is cut as well; the same is the same, also in another worker and by another limit.
func TestWhatIsShownOfHashesTellsSubjectsApart(t *testing.T) {
	const limits = `[{"name":"k","per":["key"],"unit":"requests","quantity":1,"window":"1h"},{"name":"u","per":["user","key"],"unit":"requests","quantity":1,"window":"1h"}]`
	one := newWorld(t, limits)
	two := one.again(t, limits)
	show := func(w *world, limit int, user, key string) string {
		r := request(user)
		r.Caller.Key = key
		return string(w.AppendSubject(nil, &w.limits[limit].Limit, r))
	}
	long := strings.Repeat("x", 100)
	if a, b := show(one, 0, "ann", "a"), show(two, 0, "bob", "a"); a != b || !strings.HasSuffix(show(one, 1, "ann", "a"), " "+a) {
		t.Errorf("%q and %q", a, b)
	}
	for _, pair := range [][2]string{
		{show(one, 0, "ann", "a"), show(one, 0, "ann", "b")}, {show(one, 1, long+"a", "a"), show(one, 1, long+"b", "a")},
		{show(one, 1, long, "a"), show(one, 1, long, "b")},
	} {
		if pair[0] == pair[1] {
			t.Errorf("two are shown as %q", pair[0])
		}
	}
}

func TestToShowASubjectAllocatesNothing(t *testing.T) {
	w := newWorld(t, `[{"name":"b","per":["user","key","model"],"unit":"requests","quantity":1,"window":"1h"}]`)
	b := make([]byte, 0, 1000)
	for _, user := range []string{"ann", strings.Repeat("é ", 10_000)} {
		r := request(user)
		if n := testing.AllocsPerRun(10, func() { b = w.AppendSubject(b[:0], &w.limits[0].Limit, r) }); n != 0 {
			t.Errorf("%.10s: %v allocations", user, n)
		}
	}
}

// Whatever somebody calls himself, it is one short line of as many parts as the limit has, and has nothing of his key.
func FuzzSubject(f *testing.F) {
	w := newWorld(f, `[{"name":"b","per":["user","key","header:x-team"],"unit":"requests","quantity":1,"window":"1h"}]`)
	hashed := regexp.MustCompile(`^key=h:[0-9a-f]{8}$`)
	f.Add("ann", "sk-12345678", "red")
	f.Add("ann key=h:00000000", strings.Repeat("k", 100), "\xff\u2028 \u00a0")
	f.Fuzz(func(t *testing.T, user, key, team string) {
		r := request(user)
		r.Headers = &ident.Headers{}
		r.Caller.Key = key
		w.picker.Pick([][2]string{{"x-team", team}}, r.Headers)
		got := string(w.AppendSubject(nil, &w.limits[0].Limit, r))
		if len(got) > MostSubject || !utf8.ValidString(got) || oneline.Of(got) != got || strings.Count(got, " ") > 2 {
			t.Fatalf("%q", got)
		}
		if parts := strings.Split(got, " "); !strings.Contains(got, "…") && key != w.nobody && !hashed.MatchString(parts[1]) {
			t.Fatalf("%q has something of the key %q", got, key)
		}
	})
}
