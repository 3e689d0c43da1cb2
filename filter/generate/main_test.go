package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestWhatIsGeneratedIsUpToDate(t *testing.T) {
	if err := generate(true, "../.."); err != nil {
		t.Error(err)
	}
}

func TestAPartIsReplacedAndNothingElse(t *testing.T) {
	root := t.TempDir()
	file := filepath.Join(root, "a.md")
	p := part{"a.md", "<begin>\n", "<end>\n", "new\n"}
	const before, after = "# Title\n\n", "\n<!-- end -->\nend"
	if err := os.WriteFile(file, []byte(before+p.begin+"old\n"+p.end+after), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(true, root, []part{p}); err == nil || !strings.Contains(err.Error(), `a.md" is out of date; run: make docs`) {
		t.Errorf("got %v", err)
	}
	for range 2 {
		if err := run(false, root, []part{p}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if want := before + p.begin + p.text + p.end + after; string(got) != want {
		t.Errorf("got %s", got)
	}
	if err := run(true, root, []part{p}); err != nil {
		t.Error(err)
	}
}

func TestEveryFileThatIsOutOfDateIsNamed(t *testing.T) {
	root := t.TempDir()
	var stale []part
	for _, name := range []string{"a.md", "b.md"} {
		stale = append(stale, part{name, "<begin>\n", "<end>\n", "new\n"})
		if err := os.WriteFile(filepath.Join(root, name), []byte("<begin>\n<end>\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	err := run(true, root, append(stale, part{file: "none.md"}))
	for _, name := range []string{"a.md", "b.md", "none.md"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s is not in %v", name, err)
		}
	}
}

func TestAFileWithoutAPlace(t *testing.T) {
	p := part{begin: "<begin>\n", end: "<end>\n", text: "x"}
	for _, text := range []string{"", p.begin, p.end, p.end + p.begin} {
		if _, err := p.replace([]byte(text)); err == nil || !strings.Contains(err.Error(), "no place for what is generated") {
			t.Errorf("%q: got %v", text, err)
		}
	}
}

// Rules that somebody copied into another file by hand would miss the next label.
func TestAllStatsTagsAreGenerated(t *testing.T) {
	const root = "../.."
	var generated, found []string
	all, err := parts(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		if strings.Contains(p.text, "tag_name") {
			generated = append(generated, p.file)
		}
	}
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == ".git" || path == filepath.Join(root, "build")):
			return fs.SkipDir
		case !slices.Contains([]string{".yaml", ".yml", ".json", ".tmpl"}, filepath.Ext(path)):
			return nil
		}
		text, err := os.ReadFile(path)
		if strings.Contains(string(text), "tag_name") {
			relative, _ := filepath.Rel(root, path)
			found = append(found, filepath.ToSlash(relative))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(generated)
	slices.Sort(found)
	if !slices.Equal(generated, found) {
		t.Errorf("rules are in %v, and are generated into %v", found, generated)
	}
}
