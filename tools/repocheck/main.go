// Repocheck checks the rules of this repository that no linter knows. Each finding says what is wrong and what to do.
//
//	repocheck source                      import rules, clocks and goroutines in the core, length of files
//	repocheck deps                        what the compiled filter and the core are linked from
//	repocheck exports                     what packages of the core export and no other one uses
//	repocheck docs                        links and commands of the pages
//	repocheck wasm -max-bytes N FILE      size and exports of the compiled filter
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	findings, err := check(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "repocheck:", err)
		os.Exit(2)
	}
	for _, finding := range findings {
		fmt.Println(finding)
	}
	if len(findings) > 0 {
		os.Exit(1)
	}
}

func check(args []string) (findings []string, err error) {
	if len(args) == 0 {
		return nil, fmt.Errorf("name a check: source, deps, exports, docs or wasm")
	}
	switch name := args[0]; name {
	case "source":
		return checkSource(".")
	case "deps":
		return checkDeps()
	case "exports":
		flags := flag.NewFlagSet(name, flag.ContinueOnError)
		most := flags.Int("most", mostUnused, "how many names a package may have that no other one uses")
		if err := flags.Parse(args[1:]); err != nil {
			return nil, err
		}
		return checkExports(*most)
	case "docs":
		return checkDocs(".")
	case "wasm":
		flags := flag.NewFlagSet(name, flag.ContinueOnError)
		limit := flags.Int("max-bytes", 0, "largest size of the file that is all right, in bytes")
		if err := flags.Parse(args[1:]); err != nil {
			return nil, err
		}
		module, err := os.ReadFile(flags.Arg(0))
		if err != nil {
			return nil, err
		}
		return checkWasm(flags.Arg(0), module, *limit)
	default:
		return nil, fmt.Errorf("%q is not a check; there are source, deps, exports, docs and wasm", name)
	}
}
