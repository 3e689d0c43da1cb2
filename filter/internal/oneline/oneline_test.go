package oneline

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestNoTextMakesALineOfItsOwn(t *testing.T) {
	for text, want := range map[string]string{
		"llama-3/8b:free": "llama-3/8b:free", "": "", "模型-é 😀": "模型-é 😀", "a\nb": "a_b", "a\r\n\tb": "a___b", "\x00\x1b[2J\x7f": "__[2J_",
		"a\u0085b\u2028c\u2029d": "a_b_c_d", "a\u202eb\u2066": "a_b_", "\xff\xfea\xe4\xb8": "__a__", "\ufffd": "\ufffd",
	} {
		if got := Of(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	if n := testing.AllocsPerRun(10, func() { Of("meta-llama/Llama-3.1-8B-Instruct") }); n != 0 {
		t.Errorf("an ordinary name takes %v allocations", n)
	}
}

func TestALongTextIsCutBetweenCharacters(t *testing.T) {
	for _, test := range []struct {
		text string
		most int
		want string
	}{
		{"", 3, ""}, {"abc", 3, "abc"}, {"abcd", 3, "…"}, {"abcdef", 5, "ab…"}, {"aéb", 4, "aéb"}, {"aééé", 6, "aé…"}, {"aéé\n", 5, "a…"},
		{"\xff\xff\xff\xff", 4, "____"}, {"ab\xe4\xb8\xad\xe4", 5, "ab…"},
	} {
		if got := string(Append([]byte("x"), test.text, test.most)); got != "x"+test.want {
			t.Errorf("%q in %d bytes: %q, want %q", test.text, test.most, got[1:], test.want)
		}
	}
	b, long := make([]byte, 0, 100), strings.Repeat("é\n", 100)
	if n := testing.AllocsPerRun(10, func() { b = Append(b[:0], long, 64) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzOneLine(f *testing.F) {
	f.Add("a\nb\u2028", 3)
	f.Add("\xc2\x85\xc2", 4)
	f.Fuzz(func(t *testing.T, text string, most int) {
		got := Of(text)
		if !utf8.ValidString(got) || strings.IndexFunc(got, func(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }) >= 0 {
			t.Fatalf("%q", got)
		}
		if Of(got) != got {
			t.Fatal("not the same a second time")
		}
		most = min(max(most, 3), 1000)
		b := string(Append(nil, text, most))
		whole := len(text) <= most
		if whole && b != got || !whole && !strings.HasPrefix(got, strings.TrimSuffix(b, "…")) || len(b) > most || Of(b) != b {
			t.Fatalf("%q in %d bytes: %q", text, most, b)
		}
	})
}
