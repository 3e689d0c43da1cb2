package gate

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/config"
)

// passing are the reasons that a request only waits or passes for.
var passing = []string{NearlySpent, Leasing, PassedFull, Bypassed, WouldWait}

// A reason that is added in reasons.go has to be in the operators' table.
func TestEveryReasonHasItsRow(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "reasons.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var reasons []string
	ast.Inspect(file, func(n ast.Node) bool {
		if literal, is := n.(*ast.BasicLit); is && literal.Kind == token.STRING {
			reason, _ := strconv.Unquote(literal.Value)
			reasons = append(reasons, reason)
		}
		return true
	})
	for _, unit := range config.Units {
		reasons = append(reasons, unit.Reason)
	}
	rows := Table()
	for _, reason := range reasons {
		if !slices.Contains(passing, reason) && !slices.ContainsFunc(rows, func(r Row) bool { return r.Reason == reason }) {
			t.Errorf("%s has no row: add one in table.go, then make docs", reason)
		}
	}
	seen := map[string]bool{}
	for _, r := range rows {
		if name := r.Gate + "/" + r.Reason; seen[name] || !strings.HasSuffix(r.When, ".") || !strings.HasSuffix(r.Do, ".") {
			t.Errorf("%s is there twice, or doesn't say when, or what to do", name)
		} else {
			seen[name] = true
		}
	}
}
