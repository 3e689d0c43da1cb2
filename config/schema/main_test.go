package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSchemaFileIsUpToDate(t *testing.T) {
	if err := run(true, "../schema.json"); err != nil {
		t.Error(err)
	}
}

func TestCheckFindsAStaleFile(t *testing.T) {
	stale := filepath.Join(t.TempDir(), "schema.json")
	if err := os.WriteFile(stale, []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(true, stale); err == nil || !strings.Contains(err.Error(), "is out of date; run: go run ./config/schema") {
		t.Errorf("got %v", err)
	}
}
