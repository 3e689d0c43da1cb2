package main

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

type sbomCommand struct {
	Binary    string `arg:"" help:"Program, or compiled filter, that Go has built." placeholder:"FILE"`
	Version   string `required:"" help:"Its version." placeholder:"V"`
	Output    string `required:"" help:"Where to write the list." placeholder:"FILE"`
	ModulesOf string `help:"The same program built by stock Go, whose modules are listed: TinyGo leaves no list." placeholder:"FILE"`
	TinyGo    string `name:"tinygo" help:"Version of the TinyGo that has built the program, whose runtime is in it." placeholder:"V"`
}

func (c *sbomCommand) Run() error {
	binary, err := os.ReadFile(c.Binary)
	if err != nil {
		return err
	}
	listed := c.Binary
	if c.ModulesOf != "" {
		listed = c.ModulesOf
	}
	info, err := readBuildInfo(listed)
	if err != nil {
		return fmt.Errorf("%s: %w", listed, err)
	}
	if c.TinyGo != "" {
		info.Deps = append(info.Deps, &debug.Module{Path: "github.com/tinygo-org/tinygo", Version: c.TinyGo})
	}
	bom, err := describe(binary, info, c.Version)
	if err != nil {
		return fmt.Errorf("%s: %w", c.Binary, err)
	}
	var text bytes.Buffer
	if err := cdx.NewBOMEncoder(&text, cdx.BOMFileFormatJSON).SetPretty(true).EncodeVersion(bom, cdx.SpecVersion1_6); err != nil {
		return err
	}
	return os.WriteFile(c.Output, text.Bytes(), 0o644)
}

// readBuildInfo is what Go's linker left in a file about the modules in it.
func readBuildInfo(file string) (*debug.BuildInfo, error) {
	binary, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if bytes.HasPrefix(binary, []byte("\x00asm")) {
		return wasmBuildInfo(binary)
	}
	return buildinfo.Read(bytes.NewReader(binary))
}

// Between these marks the linker writes the list of modules.
var (
	modulesStart = []byte("0w\xaf\f\x92t\b\x02A\xe1\xc1\a\xe6\xd6\x18\xe6")
	modulesEnd   = []byte("\xf92C1\x86\x18 r\x00\x82B\x10A\x16\xd8\xf2")
)

// compilerField is how Go calls itself in the section "producers"; its version follows, after one byte with the length.
var compilerField = []byte("Go cmd/compile")

// wasmBuildInfo reads a Wasm module, of which debug/buildinfo knows nothing.
func wasmBuildInfo(module []byte) (*debug.BuildInfo, error) {
	_, text, started := bytes.Cut(module, modulesStart)
	text, _, ended := bytes.Cut(text, modulesEnd)
	if !started || !ended {
		return nil, errors.New("no list of modules in it: was it built by Go, from a module?")
	}
	info, err := debug.ParseBuildInfo(string(text))
	if err != nil {
		return nil, err
	}
	at := bytes.LastIndex(module, compilerField) + len(compilerField)
	if at < len(compilerField) || at >= len(module) || at+1+int(module[at]) > len(module) {
		return nil, errors.New("the version of Go is not in it")
	}
	info.GoVersion = string(module[at+1 : at+1+int(module[at])])
	return info, nil
}

// describe lists modules in order of their names. There is no time and no serial number, so that the same binary has the
// same list.
func describe(binary []byte, info *debug.BuildInfo, version string) (*cdx.BOM, error) {
	digest := sha256.Sum256(binary)
	program := cdx.Component{
		BOMRef:     "program",
		Type:       cdx.ComponentTypeApplication,
		Name:       info.Path,
		Version:    version,
		PackageURL: "pkg:golang/" + info.Main.Path + "@" + version + "#" + strings.TrimPrefix(strings.TrimPrefix(info.Path, info.Main.Path), "/"),
		Hashes:     &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(digest[:])}},
		Licenses:   &cdx.Licenses{{License: &cdx.License{ID: "Apache-2.0"}}},
		Properties: properties(info),
	}
	std := library("std", info.GoVersion)
	components, needs := []cdx.Component{std}, []string{std.BOMRef}
	for _, dep := range info.Deps {
		if dep.Replace != nil {
			dep = dep.Replace
		}
		component := library(dep.Path, dep.Version)
		if hash, ok := strings.CutPrefix(dep.Sum, "h1:"); ok {
			raw, err := base64.StdEncoding.DecodeString(hash)
			if err != nil {
				return nil, fmt.Errorf("the checksum of %s: %w", dep.Path, err)
			}
			component.Hashes = &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(raw)}}
		}
		components, needs = append(components, component), append(needs, component.BOMRef)
	}
	slices.SortFunc(components, func(a, b cdx.Component) int { return strings.Compare(a.BOMRef, b.BOMRef) })
	slices.Sort(needs)
	bom := cdx.NewBOM()
	bom.Metadata = &cdx.Metadata{Component: &program}
	bom.Components = &components
	bom.Dependencies = &[]cdx.Dependency{{Ref: program.BOMRef, Dependencies: &needs}}
	return bom, nil
}

func library(path, version string) cdx.Component {
	purl := "pkg:golang/" + path + "@" + version
	return cdx.Component{BOMRef: purl, Type: cdx.ComponentTypeLibrary, Name: path, Version: version, PackageURL: purl}
}

// properties are those settings of the build that decide what is linked.
func properties(info *debug.BuildInfo) *[]cdx.Property {
	var list []cdx.Property
	for _, setting := range info.Settings {
		if slices.Contains([]string{"CGO_ENABLED", "GOARCH", "GOOS", "-buildmode", "-tags"}, setting.Key) {
			list = append(list, cdx.Property{Name: "go:build:" + setting.Key, Value: setting.Value})
		}
	}
	return &list
}
