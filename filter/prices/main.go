// Command spillway-prices turns LiteLLM's public list of prices (model_prices_and_context_window.json, which its package holds, too) into prices for a
// configuration: YAML, on standard output. What a list says that prices can't have, it names on standard error, with the models.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/alecthomas/kong"

	"github.com/spillway-proxy/spillway/config"
)

// Version is set by the linker.
var Version = "dev"

// The statuses that the program ends with.
const (
	allRight = 0
	isWrong  = 1 // none of the models has a price
	cantTell = 2 // the file can't be read, or an option is unknown
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

type options struct {
	Models   []string         `short:"m" sep:"none" default:"*" placeholder:"GLOB" help:"Models to take, by their names in the list, such as 'gpt-4o*'; may be given several times. Default: all that have prices of tokens."`
	Provider []string         `short:"p" sep:"none" placeholder:"NAME" help:"Only of this provider (litellm_provider), such as openai; may be given several times."`
	Trim     []string         `sep:"none" placeholder:"PREFIX" help:"Take this off the beginning of names, such as azure/, if clients call the models so; may be given several times."`
	File     string           `arg:"" help:"LiteLLM's model_prices_and_context_window.json; - is standard input."`
	Version  kong.VersionFlag `help:"Print the version and exit."`
}

func run(args []string, stdout, stderr io.Writer) int {
	var o options
	exited := false // the arguments were a question that is answered now, such as --help
	parser := kong.Must(&o, kong.Name("spillway-prices"), kong.Vars{"version": Version}, kong.Writers(stdout, stderr),
		kong.Exit(func(int) { exited = true }),
		kong.Description("Turns LiteLLM's list of prices into prices of a configuration of Spillway. It ends with 0, with 1 if no model has a price, with 2 if the list can't be read."))
	if _, err := parser.Parse(args); exited {
		return allRight
	} else if err != nil {
		fmt.Fprintf(stderr, "spillway-prices: %v\n", err)
		return cantTell
	}
	list, err := read(o.File)
	if err != nil {
		fmt.Fprintf(stderr, "spillway-prices: %v\n", err)
		return cantTell
	}
	c := converter{options: &o}
	c.convert(list)
	text := c.yaml()
	if len(c.models) > 0 {
		if _, err := config.Parse(c.json()); err != nil { // it would be a mistake of this program
			fmt.Fprintf(stderr, "spillway-prices: what comes of it is no configuration: %v\n", err)
			return cantTell
		}
		fmt.Fprint(stdout, text)
	}
	c.tell(stderr)
	if len(c.models) == 0 {
		return isWrong
	}
	return allRight
}

// entry is what a list says of one model.
type entry map[string]any

// read reads a list. Numbers stay as they are written.
func read(file string) (list map[string]entry, err error) {
	var text []byte
	if file == "-" {
		text, err = io.ReadAll(os.Stdin)
	} else {
		text, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&list); err != nil {
		return nil, fmt.Errorf("%s is no list of prices: %w", file, err)
	}
	return list, nil
}
