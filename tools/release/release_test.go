package release_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const changelog = `# Changelog

## Unreleased

- More.

## 0.2.0 - 2026-12-01

- **One** thing.
# not a heading of a section

- Another.

## 0.1.0

- The first.
`

// clone is a repository that has what make release looks at.
func clone(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for from, to := range map[string]string{"../../Makefile": "Makefile", "release.sh": "tools/release/release.sh"} {
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(root, to), string(text), 0o755)
	}
	write(t, filepath.Join(root, "CHANGELOG.md"), changelog, 0o644)
	write(t, filepath.Join(root, ".gitignore"), "/build/\n", 0o644)
	write(t, filepath.Join(root, "build/release/SHA256SUMS"), "", 0o644)
	git(t, root, "init", "--quiet")
	git(t, root, "add", "--all")
	git(t, root, "-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "--quiet", "--message", "All")
	git(t, root, "config", "user.name", "a")
	git(t, root, "config", "user.email", "a@example.com")
	return root
}

func write(t *testing.T, name, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// environment is without what the make or the git that runs this test was told.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(variable string) bool {
		return strings.HasPrefix(variable, "MAKE") || strings.HasPrefix(variable, "MFLAGS") || strings.HasPrefix(variable, "GIT_")
	})
}

func git(t *testing.T, root string, args ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "git", append([]string{"-C", root}, args...)...)
	command.Env = environment()
	output, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("git %q: %v\n%s", args, err, output)
	}
	return string(output)
}

// release runs make release, which builds nothing: what it would call to build is `true`.
func release(t *testing.T, root, version string) (string, error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "make", "--no-print-directory", "-C", root, "release", "VERSION="+version, "MAKE=true")
	command.Env = environment()
	output, err := command.CombinedOutput()
	return string(output), err
}

func TestAReleaseIsTaggedWithItsNotes(t *testing.T) {
	t.Parallel()
	root := clone(t)
	if output, err := release(t, root, "v0.2.0"); err != nil || !strings.Contains(output, "git push origin v0.2.0") {
		t.Fatalf("%v\n%s", err, output)
	}
	const want = "- **One** thing.\n# not a heading of a section\n\n- Another.\n"
	notes, err := os.ReadFile(filepath.Join(root, "build/release/NOTES.md"))
	if err != nil || string(notes) != want {
		t.Errorf("the notes are %q, %v", notes, err)
	}
	if message := git(t, root, "tag", "--list", "--format=%(objecttype) %(contents)", "v0.2.0"); message != "tag Spillway v0.2.0\n\n"+want+"\n" {
		t.Errorf("the tag is %q", message)
	}
	if head := git(t, root, "rev-parse", "HEAD", "v0.2.0^{commit}"); strings.Fields(head)[0] != strings.Fields(head)[1] {
		t.Errorf("another commit is tagged: %s", head)
	}
}

func TestWhatIsNotReleased(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		version, want string
		before        func(t *testing.T, root string)
	}{
		"a file is changed": {"v0.2.0", "aren't committed", func(t *testing.T, root string) {
			write(t, filepath.Join(root, "CHANGELOG.md"), changelog+"\n", 0o644)
		}},
		"a file is new": {"v0.2.0", "aren't committed", func(t *testing.T, root string) { write(t, filepath.Join(root, "new"), "", 0o644) }},
		"the tag is there": {"v0.1.0", "the tag v0.1.0 is there already", func(t *testing.T, root string) {
			git(t, root, "tag", "--annotate", "--message", "x", "v0.1.0")
		}},
		"nothing is said of it": {"v0.3.0", `want a section "## 0.3.0"`, func(*testing.T, string) {}},
		"it is no version":      {"0.2.0", "want one such as v0.1.0", func(*testing.T, string) {}},
		"it is part of another": {"v0.2.00", "CHANGELOG.md says nothing of 0.2.00", func(*testing.T, string) {}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := clone(t)
			test.before(t, root)
			before := git(t, root, "tag")
			if output, err := release(t, root, test.version); err == nil || !strings.Contains(output, test.want) {
				t.Errorf("got %v, want an error with %q in\n%s", err, test.want, output)
			}
			if after := git(t, root, "tag"); after != before {
				t.Errorf("tags: %s", after)
			}
		})
	}
}

// What a forge makes forms of has what it wants: https://docs.github.com/en/communities/using-templates-to-encourage-useful-issues-and-pull-requests/syntax-for-githubs-form-schema
func TestIssueForms(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"bug.yml", "feature.yml"} {
		text, err := os.ReadFile(filepath.Join("../../.github/ISSUE_TEMPLATE", file))
		if err != nil {
			t.Fatal(err)
		}
		var form struct {
			Name, Description string
			Labels            []string
			Body              []struct {
				Type, ID    string `yaml:",omitempty"`
				Attributes  struct{ Label, Description, Value, Render string }
				Validations struct{ Required bool }
			}
		}
		decoder := yaml.NewDecoder(strings.NewReader(string(text)))
		decoder.KnownFields(true)
		if err := decoder.Decode(&form); err != nil || form.Name == "" || form.Description == "" || len(form.Body) == 0 {
			t.Errorf("%s: %v, %+v", file, err, form)
		}
		ids := map[string]bool{}
		for _, field := range form.Body {
			text := field.Type == "markdown"
			if text != (field.Attributes.Value != "") || text == (field.Attributes.Label != "") || !text && (ids[field.ID] || field.ID == "") || !slices.Contains([]string{"markdown", "textarea", "input"}, field.Type) {
				t.Errorf("%s: %+v", file, field)
			}
			ids[field.ID] = true
		}
	}
}

// The changelog of this repository has notes of its first release.
func TestTheChangelogHasNotes(t *testing.T) {
	t.Parallel()
	root := clone(t)
	text, err := os.ReadFile("../../CHANGELOG.md")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(root, "CHANGELOG.md"), string(text), 0o644)
	command := exec.CommandContext(t.Context(), "tools/release/release.sh", "notes", "v0.1.0")
	command.Dir, command.Env = root, environment()
	if output, err := command.CombinedOutput(); err != nil || !strings.Contains(string(output), "**Limits**") || strings.Contains(string(output), "## ") {
		t.Errorf("%v\n%s", err, output)
	}
}

// What a forge runs is what everybody can run.
func TestWorkflows(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{"ci.yml": ".ci/run", "release.yml": "make release-files VERSION="} {
		text, err := os.ReadFile(filepath.Join("../../.github/workflows", file))
		if err != nil {
			t.Fatal(err)
		}
		var workflow struct {
			Jobs map[string]struct {
				Steps []struct{ Run string }
			}
		}
		if err := yaml.Unmarshal(text, &workflow); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		found := false
		for _, job := range workflow.Jobs {
			for _, step := range job.Steps {
				found = found || strings.Contains(step.Run, want)
			}
		}
		if !found {
			t.Errorf("%s doesn't run %s", file, want)
		}
	}
}
