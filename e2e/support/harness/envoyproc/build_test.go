package envoyproc

import (
	"os"
	"path/filepath"
	"testing"
)

func TestContainsPanics(t *testing.T) {
	t.Parallel()
	const head = "\x00asm\x01\x00\x00\x00"
	section := func(id byte, content string) string { return string([]byte{id, byte(len(content))}) + content }
	custom := func(name, content string) string { return section(0, string([]byte{byte(len(name))})+name+content) }
	for _, test := range []struct {
		name, module string
		want, fails  bool
	}{
		{"stock Go", head + section(1, "types") + custom("go:buildid", "x") + custom("producers", "Go cmd/compile 1.26"), true, false},
		{"another compiler", head + section(1, "Go cmd/compile") + custom("producers", "clang"), false, false},
		{"one that says nothing", head + section(1, "types"), false, false},
		{"half a module", head + section(1, "types")[:4], false, true},
		{"no module", "Go cmd/compile", false, true},
	} {
		file := filepath.Join(t.TempDir(), "module.wasm")
		if err := os.WriteFile(file, []byte(test.module), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := ContainsPanics(file); got != test.want || (err != nil) != test.fails {
			t.Errorf("%s: %v, error %v; want %v, an error: %v", test.name, got, err, test.want, test.fails)
		}
	}
}
