package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
	"github.com/spillway-proxy/spillway/filter/check/find"
)

// ownConfig lies beside the bootstraps, and is the filter's configuration if it is there.
const ownConfig = "envoy/spillway.yaml"

// chosen is the filter's configuration that runs.
type chosen struct {
	file   string // it is from
	json   string // as Envoy gets it
	config config.Config
}

// configuration reads CONFIG, or spillway.yaml beside the bootstraps, or else what the bootstrap has, as the filter will read it. What is wrong is the
// error, a line each, with file and line.
func (s *settings) configuration(root string) (chosen, error) {
	file := s.config
	if file == "" {
		file = filepath.Join(root, ownConfig)
		if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
			file = filepath.Join(root, s.bootstrapFile())
		}
		file = fromHere(file)
	}
	all, err := find.File(file)
	if err != nil {
		return chosen{}, err
	}
	if len(all) > 1 { // Envoy's configuration with several plugins
		all = slices.DeleteFunc(all, func(c find.Configuration) bool { return c.What != "plugin "+envoyproc.WasmFilter })
	}
	if len(all) != 1 {
		return chosen{}, fmt.Errorf("%s has several configurations of Spillway, and none, or more than one, is that of a plugin with the name %s: CONFIG= a file with one", file, envoyproc.WasmFilter)
	}
	cfg, problems := all[0].Check()
	if problems != nil {
		return chosen{}, fmt.Errorf("the configuration is wrong, so nothing was started:\n%s", strings.Join(problems, "\n"))
	}
	return chosen{file: file, json: cmp.Or(string(all[0].JSON), "{}"), config: cfg}, nil
}

// bootstrapFile is what Envoy is configured by, relative to the repository's root.
func (s *settings) bootstrapFile() string {
	if s.fleet {
		return envoyproc.FleetYAML
	}
	return envoyproc.StandaloneYAML
}

// fromHere is a path as one would write it in this directory.
func fromHere(path string) string {
	here, err := os.Getwd()
	if err != nil {
		return path
	}
	if short, err := filepath.Rel(here, path); err == nil && !strings.HasPrefix(short, "..") {
		return short
	}
	return path
}
