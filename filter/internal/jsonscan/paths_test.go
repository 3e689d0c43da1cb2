package jsonscan

import (
	"slices"
	"testing"
)

func TestPathsAreThoseThatWereCompiled(t *testing.T) {
	got := Compile(Path{ID: 1, Path: "a"}, Path{ID: 2, Path: "b.c"}, Path{ID: 1, Path: "a.*.d"}, Path{ID: 3, Path: "b"}, Path{ID: 4, Path: "*.e"}).Paths()
	if want := []string{"a", "a.*.d", "b", "b.c", "*.e"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := Compile().Paths(); got != nil {
		t.Errorf("of nothing: %q", got)
	}
}
