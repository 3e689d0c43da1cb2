package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/spillway-proxy/spillway/config"
)

func source(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }

// sources are those of a page that does nothing.
func sources() fstest.MapFS {
	files := fstest.MapFS{"index.html": source("<style></style><script></script>"), "style.css": source("a {\n  b: c;\n}\n")}
	for _, name := range scripts {
		files[name] = source("// what it is\n  run('" + name + "');\n\n")
	}
	return files
}

func TestThePageAllowsItsOwnStyleAndScriptAlone(t *testing.T) {
	p, err := buildPage(sources())
	if err != nil {
		t.Fatal(err)
	}
	for _, tag := range []string{"style", "script"} {
		text := regexp.MustCompile(`(?s)<` + tag + `>(.*)</` + tag + `>`).FindStringSubmatch(p.html)
		if text == nil || !strings.Contains(p.policy, tag+"-src '"+hash(text[1])+"';") {
			t.Errorf("the policy %q doesn't allow the %s of %s", p.policy, tag, p.html)
		}
	}
	if strings.Contains(p.html, "what it is") || !strings.Contains(p.html, "\nrun('dom.js');\nrun('text.js');\n") {
		t.Errorf("comments are to go, scripts to stand in their order: %s", p.html)
	}
}

func TestAPageThatCantBeMadeSaysWhy(t *testing.T) {
	for name, spoil := range map[string]func(fstest.MapFS){
		"main.js":               func(files fstest.MapFS) { delete(files, "main.js") },
		"no empty <script>":     func(files fstest.MapFS) { files["index.html"] = source("<style></style>") },
		"or it would end early": func(files fstest.MapFS) { files["main.js"] = source("write('</SCRIPT>')") },
	} {
		files := sources()
		spoil(files)
		if _, err := buildPage(files); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestThePageIsSmall(t *testing.T) {
	const most = 40 << 10
	info, err := os.Stat("../../" + pageFile)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > most {
		t.Errorf("%d bytes in the filter, more than %d", info.Size(), most)
	}
}

func TestFieldsTellWhatAnEditorNeeds(t *testing.T) {
	table := fieldsTable(config.Describe())
	for _, want := range []string{
		`{"mode":["word","What a verdict does: enforce acts on it, shadow only records it, off reaches none. It is a ceiling over each gate's and limit's own mode.","enforce",null,null,["enforce","shadow","off"]],"limits":[{`,
		`"errorRate":["number",`, `"quantity":["number","Units per window; of inflight, at once; of usd dollars, such as 0.25.",null,0,1000000000000]`,
	} {
		if !strings.Contains(table, want) {
			t.Errorf("%s is not in %s", want, table)
		}
	}
	for _, not := range []string{`"name":`, `"match":`, `"tokens":["string"`, `"namespace"`} {
		if strings.Contains(table, not) {
			t.Errorf("%s can't be tuned, and is in %s", not, table)
		}
	}
}
