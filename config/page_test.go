package config

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// What docs/limits.md says that a limit is configured by is read as it says: each row of its first table, and each of its configurations.
func TestLimitsOfThePage(t *testing.T) {
	text, err := os.ReadFile("../docs/limits.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	rows := 0
	table, _, _ := strings.Cut(page, "\n## ")
	for line := range strings.Lines(table) {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| I want") {
			continue
		}
		rows++
		limit := regexp.MustCompile("`({.+?})`").FindStringSubmatch(line)
		if limit == nil {
			t.Errorf("no limit: %s", line)
			continue
		}
		config := "limits: [" + strings.Replace(limit[1], "{", "{name: x, ", 1) + "]\nprices: [{prompt: 1}]\nidentity: {groups: {a: {users: [ann]}}}\n"
		if err := parseYAML(config); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
	if rows < 12 {
		t.Errorf("%d rows were found, want at least a dozen", rows)
	}
	blocks := 0
	for _, block := range regexp.MustCompile("(?s)\n(<!-- of Envoy -->\n|)( *)```yaml\n(.*?)```").FindAllStringSubmatch(strings.ReplaceAll(page, "\n  <!-- of Envoy -->", "\n<!-- of Envoy -->"), -1) {
		if block[1] != "" {
			continue
		}
		blocks++
		if err := parseYAML(block[3]); err != nil {
			t.Errorf("%s: %v", block[3], err)
		}
	}
	if blocks < 2 {
		t.Errorf("%d configurations were found, want at least two", blocks)
	}
}

func parseYAML(text string) error {
	json, err := yaml.YAMLToJSONStrict([]byte(text))
	if err == nil {
		_, err = Parse(json)
	}
	return err
}
