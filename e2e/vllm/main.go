// Vllm measures a real vLLM in overload behind a real Envoy, with the filter off and on, and writes the table and the plot of
// docs/pressure.md. It is `make vllm-run`; README.md says what is needed and how it measures.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
)

// Where things are, relative to the root of the repository.
const (
	folder     = "e2e/vllm"
	workFolder = "build/vllm"
	docFile    = "docs/pressure.md"
	plotFile   = "docs/vllm.svg"
)

// options are what can be chosen.
type options struct {
	cache      string // where setup.sh has put vLLM, guidellm and the model
	server     string // URL of a vLLM that runs already
	then       string // URL of another one, to which it goes over in the middle of a run
	serve      bool   // only run a vLLM
	seqs       int    // that it serves at once
	rounds     int
	add        bool
	report     bool
	load       time.Duration // of one run
	serverCPUs string
	loadCPUs   string
	config     string
	auto       string // file, as config, for the mode of that name
	modes      string
	times      float64 // of the clients' usual rates
}

func parse(args []string) (o options, err error) {
	flags := flag.NewFlagSet("vllm", flag.ContinueOnError)
	flags.StringVar(&o.cache, "cache", "", "`folder` in which setup.sh has put vLLM, guidellm and the model")
	flags.StringVar(&o.server, "server", "", "`URL` of a vLLM that runs already, from -serve; none: one is started")
	flags.StringVar(&o.then, "then", "", "`URL` of another vLLM that runs already, with more or fewer -seqs, to which each run goes over in its middle; the runs are told, and not kept")
	flags.IntVar(&o.seqs, "seqs", slots, "how many `requests` vLLM serves at once, with -serve")
	flags.BoolVar(&o.serve, "serve", false, "only run vLLM, until Ctrl-C")
	flags.IntVar(&o.rounds, "rounds", 2, "rounds of measurement")
	flags.BoolVar(&o.add, "add", false, "add to the rounds that "+workFolder+" has, instead of beginning anew")
	flags.BoolVar(&o.report, "report", false, "only write the table and the plot of the rounds that "+workFolder+" has")
	flags.DurationVar(&o.load, "load", 100*time.Second, "how long the clients ask in a run")
	flags.StringVar(&o.serverCPUs, "server-cpus", "1", "`CPUs` of vLLM, as taskset has them")
	flags.StringVar(&o.loadCPUs, "load-cpus", "0", "`CPUs` of Envoy, the exporter and the clients")
	flags.StringVar(&o.config, "config", filepath.Join(folder, "on.yaml"), "`file` with the filter's configuration")
	flags.StringVar(&o.auto, "auto-config", filepath.Join(folder, "auto.yaml"), "`file` with the filter's configuration where slots are learned")
	flags.StringVar(&o.modes, "modes", "off,enforce,auto", "`modes` of the filter, in this order, in each round: off, enforce, or auto, which is enforce with slots that are learned")
	flags.Float64Var(&o.times, "times", 1, "how many times the usual `rates` are asked: the table compares ways to meet an overload, so that with off requests have to wait in vLLM")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("%q is not a flag", flags.Arg(0))
	case o.cache == "" && !o.report:
		return o, errors.New("-cache must name the folder that setup.sh has filled")
	case o.then != "" && o.server == "":
		return o, errors.New("-then wants -server, too")
	case o.times <= 0:
		return o, errors.New("-times must be above 0")
	case o.load < 2*(settle+finish):
		return o, fmt.Errorf("-load must be at least %v: requests of its first %v and its last %v are not counted", 2*(settle+finish), settle, finish)
	}
	return o, nil
}

func main() {
	o, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		err = run(ctx, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "vllm:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	root, err := envoyproc.Root()
	if err == nil {
		err = os.Chdir(root)
	}
	if err == nil {
		err = os.MkdirAll(workFolder, 0o755)
	}
	if err != nil {
		return err
	}
	if o.report {
		return writeReport()
	}
	if o.cache, err = filepath.Abs(o.cache); err != nil {
		return err
	}
	if o.server == "" {
		server, err := startServer(ctx, &o)
		if err != nil {
			return err
		}
		defer server.Stop(stopGrace)
		if o.serve {
			fmt.Printf("vLLM serves at %s\n", o.server)
			<-ctx.Done()
			return nil
		}
	}
	if err := measure(ctx, o); err != nil || o.then != "" {
		return err
	}
	return writeReport()
}

// measure runs the rounds. What each run saw is kept, so that a later one can add to it.
func measure(ctx context.Context, o options) error {
	var runs []trial
	if o.add {
		if err := readRuns(&runs); err != nil {
			return err
		}
	}
	for range o.rounds {
		for mode := range strings.SplitSeq(o.modes, ",") {
			fmt.Printf("%s: filter %s, %v\n", time.Now().Format(time.TimeOnly), mode, o.load)
			r, err := o.once(ctx, mode, count(runs, mode))
			if err != nil {
				return fmt.Errorf("filter %s: %w", mode, err)
			}
			fmt.Println(r.summary())
			runs = append(runs, *r)
		}
		if o.then != "" {
			continue
		}
		text, err := json.Marshal(runs)
		if err == nil {
			err = os.WriteFile(runsFile(), text, 0o644)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// count is how many runs a mode has had.
func count(runs []trial, mode string) (n int) {
	for i := range runs {
		if runs[i].Mode == mode {
			n++
		}
	}
	return n
}

func runsFile() string { return filepath.Join(workFolder, "runs.json") }

func readRuns(runs *[]trial) error {
	text, err := os.ReadFile(runsFile())
	if err != nil {
		return fmt.Errorf("read what was measured before: %w", err)
	}
	return json.Unmarshal(text, runs)
}
