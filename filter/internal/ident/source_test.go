package ident

import (
	"encoding/binary"
	"math"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/config"
)

// nothing is a proxy that knows nothing.
type nothing struct{}

func (nothing) Attribute(string) (string, bool) { return "", false }

// known is what a proxy knows, by paths whose parts are joined by points; asked counts the questions.
type known struct {
	values map[string]string
	asked  int
}

func (k *known) Attribute(path string) (string, bool) {
	k.asked++
	value, is := k.values[strings.ReplaceAll(path, "\x00", ".")]
	return value, is
}

// perUser has the user decide.
const perUser = `,"limits":[{"name":"u","per":["user"],"unit":"requests","quantity":1,"window":"1h"}]`

// readWith reads the caller of a request of which the proxy knows something.
func readWith(t *testing.T, k *known, configuration string, headers ...[2]string) (Caller, *Refusal) {
	t.Helper()
	cfg, err := config.Parse([]byte(configuration))
	if err != nil {
		t.Fatal(err)
	}
	var picker Picker
	var picked Headers
	identity := New(&cfg, &picker, k, sum, []string{"user"})
	picker.Pick(headers, &picked)
	return identity.Read(&picked)
}

func double(f float64) string {
	return string(binary.LittleEndian.AppendUint64(nil, math.Float64bits(f)))
}

func TestAttributesTellWhoAsks(t *testing.T) {
	const claim = "metadata.filter_metadata.envoy.filters.http.jwt_authn.payload.sub"
	const token = `{"identity":{"user":{"property":["metadata","filter_metadata","envoy.filters.http.jwt_authn","payload","sub"]}}` + perUser + `}`
	const address = `{"identity":{"user":{"property":["source","address"]}}` + perUser + `}`
	long := strings.Repeat("u", 300)
	for _, test := range []struct {
		name, configuration, path, value string
		want                             string // "": refused
	}{
		{"a claim", token, claim, "ann", "ann"},
		{"no token", token, claim, "-", "anonymous"},
		{"an empty claim", token, claim, "", "anonymous"},
		{"blanks are not trimmed: they are the issuer's", token, claim, " ann", " ann"},
		{"a whole number", token, claim, double(12345), "12345"},
		{"zero", token, claim, double(0), "0"},
		{"a negative one", token, claim, double(-7), "-7"},
		{"a fraction", token, claim, double(0.5), "0.5"},
		{"a large one", token, claim, double(1e300), "1e+300"},
		{"an integer", `{"identity":{"user":{"property":["connection","id"]}}` + perUser + `}`, "connection.id", string(binary.LittleEndian.AppendUint64(nil, 77)), "77"},
		{"eight letters are text", token, claim, "eight888", "eight888"},
		{"a truth value", token, claim, "\x01", "true"},
		{"and the other one", token, claim, "\x00", "false"},
		{"a list is not one value", token, claim, "\x01\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00\x00ann\x00\x00", ""},
		{"nor is what has lines", token, claim, "ann\nbob smith", ""},
		{"nor what is no UTF-8", token, claim, "ann\xff", ""},
		{"UTF-8 is", token, claim, "Änne", "Änne"},
		{"what is long is whole", token, claim, long, long},
		{"an address", address, "source.address", "192.0.2.7:40000", "192.0.2.7"},
		{"of IPv6 the network", address, "source.address", "[2001:db8:1:2:3:4:5:6]:40000", "2001:db8:1:2::/64"},
		{"another host of it", address, "source.address", "[2001:db8:1:2::9]:1", "2001:db8:1:2::/64"},
		{"with zeros", address, "source.address", "[2001:db8::9]:1", "2001:db8::/64"},
		{"with zeros within", address, "source.address", "[2001:0:0:1::]:1", "2001:0:0:1::/64"},
		{"with a gap within", address, "source.address", "[2001::1:2:3:4:5]:1", "2001:0:0:1::/64"},
		{"oneself", address, "source.address", "[::1]:1", "::/64"},
		{"with a zone", address, "source.address", "[fe80::1%eth0]:1", "fe80::/64"},
		{"IPv4 within IPv6", address, "source.address", "[::ffff:192.0.2.7]:1", "192.0.2.7"},
		{"a socket", address, "source.address", "/run/a:b", "/run/a:b"},
		{"without a name", address, "source.address", "", "anonymous"},
		{"no address at all", address, "source.address", "[1:zz::]:1", "1:zz::"},
		{"an abstract one", address, "source.address", "@a:b", "@a:b"},
		{"zeros, and what is no number behind the network", address, "source.address", "[1::zz]:1", "1::/64"},
	} {
		k := &known{values: map[string]string{test.path: test.value}}
		if test.value == "-" {
			k.values = nil
		}
		got, refusal := readWith(t, k, test.configuration, [2]string{"x-user-id", "eve"})
		if (refusal == nil) != (test.want != "") || refusal == nil && got.User != test.want {
			t.Errorf("%s: %q, %+v, want %q", test.name, got.User, refusal, test.want)
		}
		if k.asked != 1 {
			t.Errorf("%s: the proxy was asked %d times", test.name, k.asked)
		}
	}
}

// A list that nobody depends on is none; and where nothing depends on who asks, the proxy isn't asked.
func TestTheProxyIsAskedWhereItMatters(t *testing.T) {
	const user = `"identity":{"user":{"property":["connection","uri_san_peer_certificate"]}}`
	values := map[string]string{"connection.uri_san_peer_certificate": "spiffe://a/ann"}
	for _, test := range []struct {
		configuration, want string
		asked               int
	}{
		{`{` + user + `}`, "anonymous", 0},
		{`{` + user + perUser + `}`, "spiffe://a/ann", 1},
		{`{` + user + strings.Replace(perUser, `"unit"`, `"mode":"shadow","unit"`, 1) + `}`, "spiffe://a/ann", 1},
		{`{` + user + strings.Replace(perUser, `"unit"`, `"mode":"off","unit"`, 1) + `}`, "anonymous", 0},
		{`{"mode":"off",` + user + perUser + `}`, "anonymous", 0},
		{`{` + user + `,"priority":{"rules":[{"match":{"users":["spiffe://*"]},"set":"high"}]}}`, "spiffe://a/ann", 1},
		{`{` + user + `,"upstreams":[{"name":"a","models":["*"]}]}`, "spiffe://a/ann", 1}, // turns in its queue are the users'
	} {
		k := &known{values: values}
		if got, refusal := readWith(t, k, test.configuration); got.User != test.want || refusal != nil || k.asked != test.asked {
			t.Errorf("%s: %q, %+v, asked %d times", test.configuration, got.User, refusal, k.asked)
		}
	}
	k := &known{values: map[string]string{"connection.uri_san_peer_certificate": "\x02\x00\x00\x00"}}
	shadow := `{` + user + strings.Replace(perUser, `"unit"`, `"mode":"shadow","unit"`, 1) + `}`
	if got, refusal := readWith(t, k, shadow); got.User != "anonymous" || refusal != nil {
		t.Errorf("a list: %q, %+v", got.User, refusal)
	}
}

// The first place that has somebody counts, whatever stands at those behind it.
func TestPlacesAreTriedInTheirOrder(t *testing.T) {
	const (
		tokenFirst = `{"identity":{"user":{"sources":[{"property":["metadata","sub"]},{"headers":["x-user-id"]},{"cookie":["sid"]},{"property":["source","address"]}]}}` + perUser + `}`
		both       = `{"identity":{"user":{"headers":["x-user-id"],"sources":[{"property":["metadata","sub"]}]}}` + perUser + `}`
		fixed      = `{"identity":{"user":{"headers":["x-a"],"property":["metadata","sub"],"query":["u"],"cookie":["sid"]}}` + perUser + `}`
	)
	ann, eve := [2]string{"x-user-id", "ann"}, [2]string{"cookie", "sid=eve"}
	token, ip := map[string]string{"metadata.sub": "sue", "source.address": "192.0.2.7:1"}, map[string]string{"source.address": "192.0.2.7:1"}
	for _, test := range []struct {
		configuration string
		known         map[string]string
		headers       [][2]string
		want          string
	}{
		{tokenFirst, token, [][2]string{ann, eve}, "sue"},
		{tokenFirst, token, [][2]string{ann, ann, eve, eve}, "sue"}, // what is wrong further behind isn't looked at
		{tokenFirst, ip, [][2]string{ann, eve}, "ann"},
		{tokenFirst, ip, [][2]string{eve}, "eve"},
		{tokenFirst, ip, nil, "192.0.2.7"},
		{tokenFirst, nil, nil, "anonymous"},
		{both, token, [][2]string{ann}, "sue"},
		{both, nil, [][2]string{ann}, "ann"},
		{fixed, token, [][2]string{{"x-a", "abe"}, {":path", "/?u=uma"}, eve}, "abe"},
		{fixed, token, [][2]string{{":path", "/?u=uma"}, eve}, "sue"},
		{fixed, ip, [][2]string{{":path", "/?u=u%6da"}, eve}, "uma"},
		{fixed, ip, [][2]string{{":path", "/?v=uma"}, eve}, "eve"},
	} {
		got, refusal := readWith(t, &known{values: test.known}, test.configuration, test.headers...)
		if refusal != nil || got.User != test.want {
			t.Errorf("%s, %v, %v: %q, %+v, want %q", test.configuration, test.known, test.headers, got.User, refusal, test.want)
		}
	}
}

func TestCookies(t *testing.T) {
	const configuration = `{"identity":{"user":{"cookie":["sid"]}}` + perUser + `}`
	for _, test := range []struct {
		cookies []string
		want    string // "": refused
	}{
		{[]string{"sid=ann"}, "ann"},
		{[]string{"a=b; sid=ann; c=d"}, "ann"},
		{[]string{"a=b;sid=ann"}, "ann"},
		{[]string{"a=b", "sid=ann"}, "ann"}, // crumbs of HTTP/2
		{[]string{` sid = "ann" `}, "ann"},
		{[]string{"sid=a%6En"}, "ann"},
		{[]string{"sid=a+b=="}, "a+b=="},
		{[]string{"SID=eve; xsid=eve; sid2=eve"}, "anonymous"},
		{[]string{"sid="}, "anonymous"},
		{[]string{"sid"}, "anonymous"},
		{nil, "anonymous"},
		{[]string{"sid=ann; sid=ann"}, ""},
		{[]string{"sid=; sid=ann"}, ""},
		{[]string{"sid=ann", "sid=bob"}, ""},
		{[]string{"sid=x sid=ann"}, ""}, // Python's split at white space
		{[]string{"sid=x, sid=ann"}, ""},
		{[]string{`sid="a\156n"`}, ""},
		{[]string{`sid="ann`}, ""},
		{[]string{"sid=\u00e4nne"}, ""},
	} {
		var headers [][2]string
		for _, value := range test.cookies {
			headers = append(headers, [2]string{"cookie", value})
		}
		got, refusal := readWith(t, &known{}, configuration, headers...)
		if (refusal == nil) != (test.want != "") || refusal == nil && got.User != test.want {
			t.Errorf("%q: %q, %+v, want %q", test.cookies, got.User, refusal, test.want)
		}
		if refusal != nil && refusal.Header != "cookie sid" {
			t.Errorf("%q: blames %q", test.cookies, refusal.Header)
		}
	}
}

// Two different keys are refused wherever clients put them; what the proxy says of who asks needs to agree with none.
func TestKeysMustAgreeWhereClientsGiveThem(t *testing.T) {
	const perKey = `,"limits":[{"name":"k","per":["key"],"unit":"requests","quantity":1,"window":"1h"}]}`
	const (
		all     = `{"identity":{"key":{"headers":["x-api-key"],"query":["key"],"cookie":["sid"],"hash":false}}` + perKey
		split   = `{"identity":{"key":{"sources":[{"headers":["x-api-key"]},{"cookie":["sid"]},{"query":["key"]}],"hash":false}}` + perKey
		verify  = `{"identity":{"key":{"sources":[{"property":["metadata","azp"]},{"headers":["x-api-key"]}],"hash":false}}` + perKey
		verify2 = `{"identity":{"key":{"headers":["x-api-key"],"property":["metadata","azp"],"cookie":["sid"],"hash":false}}` + perKey
	)
	azp := map[string]string{"metadata.azp": "app"}
	for _, test := range []struct {
		configuration string
		known         map[string]string
		headers       [][2]string
		want          string // "": refused
	}{
		{all, nil, [][2]string{{"x-api-key", "k"}, {":path", "/?key=k"}, {"cookie", "sid=k"}}, "k"},
		{all, nil, [][2]string{{"x-api-key", "k"}, {"cookie", "sid=l"}}, ""},
		{all, nil, [][2]string{{":path", "/?key=k"}, {"cookie", "sid=l"}}, ""},
		{split, nil, [][2]string{{"x-api-key", "k"}, {"cookie", "sid=l"}}, ""},
		{split, nil, [][2]string{{"x-api-key", "k"}, {":path", "/?key=l"}}, ""},
		{split, nil, [][2]string{{"x-api-key", "k"}, {"cookie", "sid=k"}}, "k"},
		{verify, azp, [][2]string{{"x-api-key", "k"}}, "app"},
		{verify, nil, [][2]string{{"x-api-key", "k"}}, "k"},
		{verify2, azp, [][2]string{{"x-api-key", "k"}}, "k"},
		{verify2, azp, [][2]string{{"x-api-key", "k"}, {"cookie", "sid=l"}}, ""},
		{verify2, azp, [][2]string{{"cookie", "sid=l"}}, "app"},
	} {
		got, refusal := readWith(t, &known{values: test.known}, test.configuration, test.headers...)
		if (refusal == nil) != (test.want != "") || refusal == nil && got.Key != test.want {
			t.Errorf("%s, %v: %q, %+v, want %q", test.configuration, test.headers, got.Key, refusal, test.want)
		}
	}
}

// What the proxy tells is copied: its memory is used again.
func TestAttributesAreReadWithoutAllocation(t *testing.T) {
	cfg, err := config.Parse([]byte(`{"identity":{"user":{"sources":[{"property":["metadata","sub"]},{"property":["source","address"]},{"cookie":["sid"]}]}}` + perUser + `}`))
	if err != nil {
		t.Fatal(err)
	}
	var picker Picker
	var picked Headers
	k := &known{values: map[string]string{}}
	identity := New(&cfg, &picker, k, sum, nil)
	headers := [][2]string{{"cookie", `a=b; sid="ann"`}}
	for path, value := range map[string]string{"metadata\x00sub": double(7), "source\x00address": "[2001:db8::1]:7", "": ""} {
		answers := attributes{path, value}
		identity.attributes = &answers
		if n := testing.AllocsPerRun(100, func() {
			picker.Pick(headers, &picked)
			identity.Read(&picked)
		}); n != 0 {
			t.Errorf("%q: %v allocations", path, n)
		}
	}
}

// attributes knows one attribute.
type attributes struct{ path, value string }

func (a *attributes) Attribute(path string) (string, bool) { return a.value, path == a.path }
