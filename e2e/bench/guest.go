package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// yardsBefore is what the filter, as stock Go made it before work on its costs began (2026-11-27, 5,260,727 bytes), took of a JSON
// request with one limit, in yardsticks of guest/host.mjs: measured in turn with the present one, on 2026-11-28, with Node 20.20. It is
// the reference of the targets, and can't be measured again but by building that commit.
const yardsBefore = 2.77

// guestTime is what the filter itself takes of a JSON request with one limit, in Node's V8, in microseconds by slice. The yardstick
// is what JSON.parse takes of ten times the request and the answer, in the same slices.
type guestTime struct{ own, stock, yard []float64 }

// before is what the filter took before the work, as far as the yardstick tells.
func (g guestTime) before() []float64 {
	values := make([]float64, len(g.yard))
	for i, yard := range g.yard {
		values[i] = yardsBefore * yard
	}
	return values
}

func (g guestTime) beside(base []float64) []float64 { return ratios(g.own, base) }

// guestJob is what guest/host.mjs reads.
type guestJob struct {
	Config    string   `json:"config"`
	Body      string   `json:"body"`
	Answer    []string `json:"answer"`
	Yardstick string   `json:"yardstick"`
	Stream    bool     `json:"stream"`
	Slices    int      `json:"slices"`
	Requests  int      `json:"requests"` // of a slice
}

// guestFile has the job, and stays for profiles by hand.
const guestFile = "build/guest.json"

// measureGuest runs the filter without Envoy. Where there is no Node, nothing is measured.
func (b *bench) measureGuest(ctx context.Context) error {
	if err := b.writeGuestJob(b.unary, guestFile); err != nil {
		return err
	}
	command := exec.CommandContext(ctx, "node", "--no-liftoff", "e2e/bench/guest/host.mjs", guestFile, b.spillway.path, b.stock.path)
	command.Dir = b.root
	var failure bytes.Buffer
	command.Stderr = &failure
	output, err := command.Output()
	if errors.Is(err, exec.ErrNotFound) {
		b.say("there is no node: what the filter takes without Envoy isn't measured")
		return nil
	}
	if err != nil {
		return fmt.Errorf("run the filter in Node: %w\n%s", err, failure.String())
	}
	var slices [3][]float64
	if err := json.Unmarshal(output, &slices); err != nil {
		return fmt.Errorf("read what Node has measured: %w", err)
	}
	b.guest = guestTime{slices[0], slices[1], slices[2]}
	b.say("in Node: %.1f µs a request, stock Go's build %.1f µs", median(b.guest.own), median(b.guest.stock))
	return nil
}

func (b *bench) writeGuestJob(w workload, file string) error {
	job := guestJob{
		Config: b.find(limitedOnce).config, Body: string(w.body), Yardstick: string(b.unary.answer[0]), Stream: w.stream,
		Slices: b.slices, Requests: 1000,
	}
	for _, piece := range w.answer {
		job.Answer = append(job.Answer, string(piece))
	}
	text, err := json.Marshal(job)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(b.root, file), text, 0o644)
}

// guestTable has both builds.
func (b *bench) guestTable() string {
	if len(b.guest.own) == 0 {
		return "Not measured: there was no Node.\n"
	}
	t := newTable("", "µs/request, median", "stock Go before the work = 1", "95 %")
	before := b.guest.before()
	for _, build := range []struct {
		label  string
		values []float64
	}{{"Spillway, 1 limit", b.guest.own}, {"the same, stock Go's build", b.guest.stock}} {
		relative := ratios(build.values, before)
		low, high := interval(relative)
		t.row(build.label, fmt.Sprintf("%.1f", median(build.values)), fmt.Sprintf("**%.2f**", median(relative)), fmt.Sprintf("%.2f to %.2f", low, high))
	}
	return strings.TrimSpace(t.String()) + "\n"
}
