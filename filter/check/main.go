// Command spillway-check reads configurations of the filter as the filter does, with the same parser, and says what is wrong with them, by file and
// line. It takes the plugin's configuration itself (JSON or YAML), and what holds one: a WasmPlugin, an EnvoyFilter, Envoy Gateway's
// EnvoyExtensionPolicy, Envoy's own configuration. With --explain it says in sentences what they do.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/alecthomas/kong"

	"github.com/spillway-proxy/spillway/filter/check/explain"
	"github.com/spillway-proxy/spillway/filter/check/find"
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
	Files   []string         `arg:"" name:"file" help:"Plugin configurations, JSON or YAML, or what holds one: a WasmPlugin, an EnvoyFilter, an EnvoyExtensionPolicy, Envoy's configuration. - is standard input."`
	Version kong.VersionFlag `help:"Print the version and exit."`
}

// errExit ends the program after --help and --version.
var errExit = errors.New("exit")

func run(args []string, stdout, stderr io.Writer) int {
	var o options
	parser := kong.Must(&o, kong.Name("spillway-check"), kong.Vars{"version": Version}, kong.Writers(stdout, stderr),
		kong.Exit(func(int) { panic(errExit) }),
		kong.Description("Says what is wrong with configurations of Spillway, by file and line. It ends with 0 if all are right, 1 if one is wrong, "+
			"2 if there is one that can't be read."))
	if exited, err := parse(parser, args); exited {
		return allRight
	} else if err != nil {
		fmt.Fprintf(stderr, "spillway-check: %v\n", err)
		return cantTell
	}
	status := allRight
	for _, name := range o.Files {
		status = max(status, o.checkFile(name, stdout, stderr))
	}
	return status
}

// parse tells whether the arguments were a question that is answered now, such as --help.
func parse(parser *kong.Kong, args []string) (exited bool, err error) {
	defer func() {
		if r := recover(); r == errExit { //nolint:errorlint // the value itself
			exited = true
		} else if r != nil {
			panic(r)
		}
	}()
	_, err = parser.Parse(args)
	return false, err
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
