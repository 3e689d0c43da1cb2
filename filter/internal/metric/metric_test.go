package metric

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
)

// pinned has a series of each metric, under the name that operators' dashboards know.
var pinned = map[string]Update{
	"spillway_requests_total;decision=QUEUED;gate=g;priority=HIGH;model=m;limit=l": Requests(gate.Queued, "g", config.High, "m", "l").Add(1),
	"spillway_tokens_total;type=t;source=s;model=m":                                Tokens("t", "s", "m").Add(1),
	"spillway_uncharged_total;reason=r":                                            Uncharged("r").Add(1),
	"spillway_evictions_total;reason=r":                                            Evictions("r").Add(1),
	"spillway_errors_total;reason=r":                                               Errors("r").Add(1),
	"spillway_config_errors_total;reason=r":                                        ConfigErrors("r").Add(1),
	"spillway_warnings_total;gate=g;upstream=u":                                    Warnings("g", "u").Add(1),
	"spillway_upstream_errors_total;upstream=u;status=503":                         UpstreamErrors("u", "503").Add(1),
	"spillway_breaker_transitions_total;upstream=u;from=OPEN;to=HALF_OPEN":         BreakerTransitions("u", "OPEN", "HALF_OPEN").Add(1),
	"spillway_budget_available;upstream=u;kind=tokens":                             BudgetAvailable("u", "tokens").Set(1),
	"spillway_passthrough_total;upstream=u;reason=r":                               Passthrough("u", "r").Add(1),
	"spillway_revoked_total;upstream=u;status=s":                                   Revoked("u", "s").Add(1),

	"spillway_fleet_leases_total;status=leased":        FleetLeases("leased").Add(1),
	"spillway_spend_nanodollars_total;limit=l;model=m": Spend("l", "m").Add(1),
	"spillway_unpriced_total;model=m":                  Unpriced("m").Add(1),
	"spillway_nearly_total;limit=l;status=routed":      Nearly("l", NearlyRouted).Add(1),
	"spillway_fleet_down":                              FleetDown().Set(1),

	"spillway_queue_bytes;upstream=u":                                 QueueBytes("u").Set(1),
	"spillway_queue_depth;upstream=u;priority=LOW":                    QueueDepth("u", config.Low).Set(1),
	"spillway_inflight;upstream=u":                                    InFlight("u").Set(1),
	"spillway_retreat_state;upstream=u":                               RetreatState("u").Set(1),
	"spillway_slots;upstream=u":                                       Slots("u").Set(1),
	"spillway_retreat_alarm;upstream=u":                               RetreatAlarm("u").Set(1),
	"spillway_effective_rpm;upstream=u":                               EffectiveRPM("u").Set(1),
	"spillway_upstream_429_ratio;upstream=u":                          Upstream429Ratio("u").Set(1),
	"spillway_pressure;kind=k":                                        Pressure("k").Set(1),
	"spillway_pressure_instances;kind=k":                              PressureInstances("k").Set(1),
	"spillway_pressure_age_milliseconds":                              PressureAge().Set(1),
	"spillway_breaker_state;upstream=u;model=m":                       BreakerState("u", "m").Set(1),
	"spillway_gate_state;gate=g;upstream=u;model=m":                   GateState("g", "u", "m").Set(1),
	"spillway_latency_average_milliseconds;kind=k;upstream=u;model=m": LatencyAverage("k", "u", "m").Set(1),
	"spillway_throttle_severity;upstream=u":                           ThrottleSeverity("u").Set(1),
	"spillway_queue_wait_milliseconds;priority=URGENT":                QueueWait(config.Urgent).Record(1),
	"spillway_ttft_milliseconds;streaming=false;priority=NORMAL":      TTFT(false, config.Normal).Record(1),
	"spillway_itl_milliseconds;streaming=true;priority=NORMAL":        ITL(true, config.Normal).Record(1),
}

func TestEachMetricHasItsNameAndLabels(t *testing.T) {
	met := map[ID]bool{}
	for want, update := range pinned {
		if got := update.Series.Name(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if update.N != 1 || met[update.Series.ID()] {
			t.Errorf("%q: an update by %d, met before: %t", want, update.N, met[update.Series.ID()])
		}
		met[update.Series.ID()] = true
	}
	if len(met) != int(Count) {
		t.Errorf("%d of %d metrics are tried", len(met), Count)
	}
}

func TestTheTableIsSound(t *testing.T) {
	for id, row := range Table() {
		if !strings.HasPrefix(row.Name, "spillway_") || strings.HasSuffix(row.Name, "_total") != (row.Kind == KindCounter) {
			t.Errorf("metric %d has the name %q", id, row.Name)
		}
		if strings.HasSuffix(row.Name, "_milliseconds") != (row.Unit == "milliseconds") {
			t.Errorf("%s is in %s", row.Name, row.Unit)
		}
		if row.Unit == "" || !strings.HasSuffix(row.Help, ".") || len(row.Labels) > mostLabels {
			t.Errorf("%s: unit %q, help %q, labels %v", row.Name, row.Unit, row.Help, row.Labels)
		}
		for _, other := range table[:id] {
			if other.Name == row.Name {
				t.Errorf("%s is there twice", row.Name)
			}
		}
	}
}

func TestTheLabelsOfAll(t *testing.T) {
	const want = "decision gate priority model limit type source reason upstream status from to kind streaming"
	if got := strings.Join(Labels(), " "); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestValues(t *testing.T) {
	series := GateState("latency", "local", "m").series
	for label, want := range map[string]string{"gate": "latency", "upstream": "local", "model": "m"} {
		if got, has := series.Value(label); !has || got != want {
			t.Errorf("%s: got %q, %t", label, got, has)
		}
	}
	if got, has := series.Value("kind"); has || got != "" {
		t.Errorf("kind: got %q, %t", got, has)
	}
}

func TestALabelWithoutAValueIsLeftOut(t *testing.T) {
	series := Requests(gate.Allowed, "none", config.Low, "m", "").series
	if got, want := series.Name(), "spillway_requests_total;decision=ALLOWED;gate=none;priority=LOW;model=m"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestNothingIsNegative(t *testing.T) {
	if g, h := InFlight("u").Set(-1), QueueWait(config.Low).Record(-1); g.N != 0 || h.N != 0 {
		t.Errorf("a gauge of %d, a sample of %d", g.N, h.N)
	}
}

func TestAnUpdateAllocatesNothing(t *testing.T) {
	updates := make([]Update, 0, 3)
	upstream := strings.Repeat("u", 3)
	allocated := testing.AllocsPerRun(100, func() {
		updates = append(updates[:0], Requests(gate.Allowed, "none", config.Normal, upstream, "").Add(1), QueueDepth(upstream, config.Low).Set(2),
			TTFT(true, config.High).Record(3))
	})
	if allocated != 0 {
		t.Errorf("%v allocations", allocated)
	}
}

// A metric that nobody sets looks to operators like one that is always 0. Its constructor gives what its kind is.
func TestEachMetricIsSetSomewhere(t *testing.T) {
	missing := map[string]bool{}
	for _, declaration := range parse(t, "constructors.go").Decls {
		if function, is := declaration.(*ast.FuncDecl); is {
			missing[function.Name.Name] = true
		}
	}
	if len(missing) != int(Count) {
		t.Errorf("%d constructors of %d metrics", len(missing), Count)
	}
	calls(t, func(name string, _ []ast.Expr) { delete(missing, name) })
	for name := range missing {
		t.Errorf("nobody calls metric.%s", name)
	}
}

// A reason that the table doesn't explain leaves operators with a name.
func TestTheHelpExplainsEachReason(t *testing.T) {
	explained := 0
	of := map[string]ID{"Uncharged": uncharged, "Evictions": evictions, "Errors": errors, "ConfigErrors": configErrors}
	calls(t, func(name string, arguments []ast.Expr) {
		id, is := of[name]
		if !is {
			return
		}
		reason := ""
		ast.Inspect(arguments[0], func(n ast.Node) bool { // a text, or one and what is appended
			if text, is := n.(*ast.BasicLit); is {
				reason = strings.Trim(text.Value, `"`)
			}
			return true
		})
		if reason == "" || !strings.Contains(table[id].Help, "`"+reason) {
			t.Errorf("%s: the help doesn't explain the reason %q", table[id].Name, reason)
		}
		explained++
	})
	if explained < 15 {
		t.Errorf("only %d calls were found", explained)
	}
}

// calls shows each call of a constructor in the filter's code, with its name and arguments.
func calls(t *testing.T, do func(name string, arguments []ast.Expr)) {
	t.Helper()
	err := filepath.WalkDir("../..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		ast.Inspect(parse(t, path), func(n ast.Node) bool {
			if call, is := n.(*ast.CallExpr); is {
				if function, is := call.Fun.(*ast.SelectorExpr); is {
					if from, is := function.X.(*ast.Ident); is && from.Name == "metric" {
						do(function.Sel.Name, call.Args)
					}
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func parse(t *testing.T, file string) *ast.File {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}
