package admin

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestJSON(t *testing.T) {
	var j JSON
	j.Object()
	j.Member("a", "x,")
	j.MemberInt("b", -7)
	j.Key("c")
	j.Array()
	j.Float(0.25)
	j.Float(-1.00001)
	j.Float(-0.5)
	j.Float(1e20)
	j.Float(math.NaN())
	j.Float(math.Inf(1))
	j.Bool(true)
	j.Null()
	j.Object()
	j.EndObject()
	j.Array()
	j.EndArray()
	j.Raw([]byte(`{"d":1}`))
	j.EndArray()
	j.MemberBool("e", false)
	j.MemberFloat("f", 12345.6789)
	j.EndObject()
	const want = `{"a":"x,","b":-7,"c":[0.25,-1,-0.5,1e+20,null,null,true,null,{},[],{"d":1}],"e":false,"f":12345.6789}`
	if got := string(j.Bytes()); got != want || !json.Valid(j.Bytes()) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestTime(t *testing.T) {
	for _, at := range []time.Time{time.Unix(0, 0), time.Date(2026, 11, 28, 23, 59, 59, 999e6, time.UTC), time.Date(2024, 2, 29, 0, 0, 0, 7e6, time.UTC),
		time.Date(2100, 3, 1, 12, 0, 0, 0, time.UTC), time.Date(2000, 2, 29, 1, 2, 3, 0, time.UTC), time.Date(1970, 12, 31, 1, 2, 3, 0, time.UTC)} {
		var j JSON
		j.Time(at.UnixNano())
		if got, want := string(j.Bytes()), at.UTC().Format(`"2006-01-02T15:04:05.000Z"`); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// A text is what it was to whoever reads the JSON, and nothing but text to a page that it stands in.
func FuzzString(f *testing.F) {
	for _, seed := range []string{"", `"><script>alert(1)</script>`, "a\x00\n\"\\\x7f", "\xff\xfe", "ä€😀\u2028\u2029", "</", "&amp;"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var j JSON
		j.String(text)
		var got string
		if err := json.Unmarshal(j.Bytes(), &got); err != nil || got != strings.ToValidUTF8(text, "\ufffd") && utf8.ValidString(text) {
			t.Errorf("%q became %q (%v)", text, got, err)
		}
		if strings.ContainsAny(string(j.Bytes()), "<>&\u2028\u2029\n\r\x00\x7f") {
			t.Errorf("%q became %s", text, j.Bytes())
		}
	})
}
