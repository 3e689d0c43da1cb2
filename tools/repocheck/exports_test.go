package main

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func TestUnusedExports(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module example\ngo 1.26\n",
		"a/a.go": `package a

type Used struct { Read, Unread int }
func (u *Used) Called() {}
func (u Used) Uncalled() {}
func (u Used) String() string { return "" }

type Kind int
const (
	First Kind = iota
	Second
)
const Alone = 7

func Make() Result { return Result{} }
type Result struct{ Value int }
func Forgotten() {}

type Store interface { Get() }
type Pair struct { One, Two int }
func unexported() {}
`,
		"a/a_test.go": "package a\nvar _ = Alone\n",
		"b/b.go": `package b

import "example/a"

type Disk struct{}
func (Disk) Get() {}

type pair struct { One, Two int }
func use(u *a.Used, k a.Kind, s a.Store) int {
	u.Called()
	_ = a.Pair(pair{})
	if k == a.First { s.Get() }
	return u.Read + a.Make().Value
}
`,
		"b/b_test.go": "package b\nimport \"example/a\"\nvar _ = a.Forgotten\n",
		"c/c.go":      "package main\nfunc Main() {}\nfunc main() {}\n",
	} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := unusedExports(runtime.GOOS, runtime.GOARCH, dir, "./...")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{
		"example/a": {"Alone", "Forgotten", "Used.Uncalled", "Used.Unread"},
		"example/b": {"Disk"},
	}
	for name := range want {
		if !slices.Equal(got[name], want[name]) {
			t.Errorf("%s: %s, want %s", name, strings.Join(got[name], " "), strings.Join(want[name], " "))
		}
	}
	if len(got) != len(want) {
		t.Errorf("%v, want %v", got, want)
	}
}
