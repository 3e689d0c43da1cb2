package jsonscan

import (
	"encoding/json"
	"strings"
	"testing"
)

// readLenient reads a document as the readers of requests do, in pieces.
func readLenient(data []byte, cut func(i int) bool) (string, bool) {
	var s Scanner
	var text Text
	var t trace
	s.ResetLenient(wanted, &t)
	start := 0
	for i := range data {
		if cut(i) {
			s.Write(text.Write(data[start:i]))
			start = i
		}
	}
	s.Write(text.Write(data[start:]))
	s.Write(text.Close())
	valid := s.Close()
	return t.String(), valid
}

func TestALenientScannerReadsWhatSomeServerReads(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{`{"x":NaN,"model":"a"}`, "value 1 4 \"a\" 1\n"},
		{`{"model":NaN}`, "value 1 3 \"NaN\" 0\n"},
		{`{"model":-Infinity,"x":[Infinity,-1]}`, "value 1 3 \"-Infinity\" 0\n"},
		{"{\"model\":\"a\x01\n\"}", "value 1 4 \"a\\x01\\n\" 3\n"},
		{`{"model":"a"} {"model":"b"}`, "value 1 4 \"a\" 1\n"},
		{`{"Model":"a","USAGE":{"Prompt_Tokens":1}}`, "value 1 4 \"a\" 1\nbegin 2 5\nvalue 3 3 \"1\" 0\n"},
		{"{\"u\u017fage\":null}", "value 2 0 \"\" 0\n"}, // a long s
		{"{\x00\"\x00m\x00o\x00d\x00e\x00l\x00\"\x00:\x00\"\x00\x3d\xd8\x00\xde\"\x00}\x00", "value 1 4 \"😀\" 4\n"},
		{"\x00\x00\xfe\xff\x00\x00\x00{\x00\x00\x00}", ""},
		{"{}", ""}, {"1", ""}, {"[]", ""}, {"\"\"", ""},
	} {
		for name, cut := range map[string]func(int) bool{"whole": whole, "by bytes": bytewise} {
			if got, valid := readLenient([]byte(test.in), cut); !valid || got != test.want {
				t.Errorf("%q %s: valid %v\n%swant\n%s", test.in, name, valid, got, test.want)
			}
		}
	}
	for _, in := range []string{``, `nan`, `NaM`, `--Infinity`, `-Inf`, `+Infinity`, `{"a":1,}`, `{a:1}`, `"\x"`, `{"a":Infini}`, strings.Repeat("[", MaxDepth+1)} {
		if _, valid := readLenient([]byte(in), whole); valid {
			t.Errorf("%.40q is read", in)
		}
	}
}

func FuzzLenient(f *testing.F) {
	f.Add([]byte(`{"x":-Infinity,"MODEL":"a`+"\x01"+`","usage":{"prompt_tokens":NaN}} more`), uint16(3))
	f.Add([]byte("\xff\xfe{\x00}\x00"), uint16(1))
	f.Add([]byte("\x00\x00\x00{\x00\x00\xd8\x00"), uint16(5))
	f.Fuzz(func(t *testing.T, data []byte, step uint16) {
		once, valid := readLenient(data, whole)
		split, splitValid := readLenient(data, func(i int) bool { return step == 0 || i%int(step) == 0 })
		bytes1, bytesValid := readLenient(data, bytewise)
		if once != split || once != bytes1 || valid != splitValid || valid != bytesValid {
			t.Fatalf("the reading depends on the split:\n%s\n%s\n%s", once, split, bytes1)
		}
		if json.Valid(data) && !valid {
			t.Fatal("it is stricter than encoding/json")
		}
	})
}
