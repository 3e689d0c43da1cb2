// Command spillway-check reads configurations of the filter as the filter does, with the same parser, and says what is wrong with them, by file and
// line. It takes the plugin's configuration itself (JSON or YAML), and what holds one: a WasmPlugin, an EnvoyFilter, Envoy Gateway's
// EnvoyExtensionPolicy, Envoy's own configuration. With --explain it says in sentences what they do, with
// --replay what one would have refused of the requests of an access log.
package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/spillway-proxy/spillway/filter/check/explain"
	"github.com/spillway-proxy/spillway/filter/check/find"
	"github.com/spillway-proxy/spillway/filter/check/replay"
)

// Version is set by the linker.
var Version = "dev"

// The statuses that the program ends with.
const (
	allRight = 0
	isWrong  = 1 // a configuration isn't what the filter takes
	cantTell = 2 // a file can't be read or holds no configuration, or an option is unknown
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

type options struct {
	Explain bool             `help:"Say what each configuration does: who is limited, by what, how much, and what happens then; upstreams, gates, and who is believed."`
	Replay  string           `placeholder:"LOG" help:"Say what the configuration would have refused of the requests of an access log, in JSON as envoy/standalone.yaml writes it, plain or gzip; - is standard input. One configuration is given."`
	Files   []string         `arg:"" name:"file" help:"Plugin configurations, JSON or YAML, or what holds one: a WasmPlugin, an EnvoyFilter, an EnvoyExtensionPolicy, Envoy's configuration. - is standard input."`
	Version kong.VersionFlag `help:"Print the version and exit."`
}

func run(args []string, stdout, stderr io.Writer) int {
	var o options
	exited := false // the arguments were a question that is answered now, such as --help
	parser := kong.Must(&o, kong.Name("spillway-check"), kong.Vars{"version": Version}, kong.Writers(stdout, stderr),
		kong.Exit(func(int) { exited = true }),
		kong.Description("Says what is wrong with configurations of Spillway, by file and line. It ends with 0 if all are right, 1 if one is wrong, "+
			"2 if there is one that can't be read."))
	if _, err := parser.Parse(args); exited {
		return allRight
	} else if err != nil {
		fmt.Fprintf(stderr, "spillway-check: %v\n", err)
		return cantTell
	}
	if o.Replay != "" {
		return o.replay(stdout, stderr)
	}
	status := allRight
	for _, name := range o.Files {
		status = max(status, o.checkFile(name, stdout, stderr))
	}
	return status
}

// replay leads an access log through the one configuration that the files hold, or, where they hold several, that of the plugin spillway.
func (o *options) replay(stdout, stderr io.Writer) int {
	var all []find.Configuration
	for _, name := range o.Files {
		more, err := find.File(name)
		if err != nil {
			fmt.Fprintln(stderr, err)
			return cantTell
		}
		all = append(all, more...)
	}
	if len(all) > 1 {
		all = slices.DeleteFunc(all, func(c find.Configuration) bool { return c.What != "plugin spillway" })
	}
	if len(all) != 1 {
		fmt.Fprintln(stderr, "spillway-check: --replay takes one configuration, and these are several")
		return cantTell
	}
	cfg, problems := all[0].Check()
	if problems != nil {
		fmt.Fprintln(stderr, strings.Join(problems, "\n"))
		return isWrong
	}
	if o.Explain {
		fmt.Fprintln(stdout, explain.Text(&cfg))
	}
	log := os.Stdin
	if o.Replay != "-" {
		var err error
		if log, err = os.Open(o.Replay); err != nil {
			fmt.Fprintln(stderr, err)
			return cantTell
		}
		defer log.Close() //nolint:errcheck // it was read only
	}
	if err := replay.Log(cfg, log, stdout); err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", o.Replay, err)
		return cantTell
	}
	return allRight
}

func (o *options) checkFile(name string, stdout, stderr io.Writer) int {
	found, err := find.File(name)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return cantTell
	}
	status := allRight
	for i := range found {
		c := &found[i]
		cfg, problems := c.Check()
		for _, problem := range problems {
			status = isWrong
			fmt.Fprintln(stderr, problem)
		}
		if problems == nil {
			fmt.Fprintf(stdout, "%s:%d: %s: ok\n", name, c.Line, c.What)
			if o.Explain {
				fmt.Fprint(stdout, explain.Text(&cfg))
			}
		}
	}
	return status
}
