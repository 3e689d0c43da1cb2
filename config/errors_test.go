package config

import (
	"errors"
	"strconv"
	"strings"
	"testing"
)

// limit and upstream are valid entries with more members put in.
func limit(members string) string {
	return `{"limits": [{"name": "a", "unit": "requests", "quantity": 1, "window": "1s"` + members + `}]}`
}

func upstream(members string) string { return `{"upstreams": [{"name": "u", ` + members + `}]}` }

type errorCase struct {
	text string
	want []string // each error's "path: value: problem", or a beginning of it
}

func checkErrors(t *testing.T, cases []errorCase) {
	t.Helper()
	for _, c := range cases {
		_, err := Parse([]byte(c.text))
		var errs fieldErrors
		if !errors.As(err, &errs) {
			t.Errorf("%s\n  got %v, want an Errors", c.text, err)
			continue
		}
		ok := len(errs) == len(c.want)
		for i := 0; ok && i < len(errs); i++ {
			ok = strings.HasPrefix(errs[i].Error(), c.want[i])
		}
		if !ok {
			t.Errorf("%s\n  got:\n%v\n  want:\n%s", c.text, err, strings.Join(c.want, "\n"))
		}
	}
}

func TestSyntaxErrors(t *testing.T) {
	checkErrors(t, []errorCase{
		{"{", []string{`configuration: invalid JSON at line 1, column 2: want a key in double quotes`}},
		{"{\n  \"é\": nope}", []string{`configuration: invalid JSON at line 2, column 8: want a value`}},
		{`{"mode" "off"}`, []string{`configuration: invalid JSON at line 1, column 9: want ":" after the key`}},
		{`{"a": 1,}`, []string{`configuration: invalid JSON at line 1, column 9: want a key in double quotes`}},
		{`{"a": [1 2]}`, []string{`configuration: invalid JSON at line 1, column 10: want "," or "]" after the value`}},
		{`{"a": "b`, []string{`configuration: invalid JSON at line 1, column 9: want a closing double quote`}},
		{`{"a": "\x"}`, []string{`configuration: invalid JSON at line 1, column 9: want one of the escapes`}},
		{`{"a": "\u12g4"}`, []string{`configuration: invalid JSON at line 1, column 12: want one of the escapes`}},
		{"{\"a\": \"\n\"}", []string{`configuration: invalid JSON at line 1, column 8: want control characters in strings escaped`}},
		{"{\"a\": \"\xff\"}", []string{`configuration: invalid JSON at line 1, column 8: want UTF-8`}},
		{`{} {}`, []string{`configuration: invalid JSON at line 1, column 4: want nothing after the end`}},
		{`{"a": 01}`, []string{`configuration: invalid JSON at line 1, column 8: want "," or "}" after the value`}},
		{`{"a": -}`, []string{`configuration: invalid JSON at line 1, column 8: want a digit`}},
		{`{"a": 1.}`, []string{`configuration: invalid JSON at line 1, column 9: want a digit after the decimal point`}},
		{`{"a": 1e+}`, []string{`configuration: invalid JSON at line 1, column 10: want a digit in the exponent`}},
		{`{"a": NaN}`, []string{`configuration: invalid JSON at line 1, column 7: want a value`}},
		{strings.Repeat("[", 100_000), []string{`configuration: invalid JSON at line 1, column 66: nested deeper than 64 levels`}},
		{"\x00", []string{`configuration: invalid JSON at line 1, column 1: want a value`}},
	})
}

func TestTypeErrors(t *testing.T) {
	checkErrors(t, []errorCase{
		{`[]`, []string{`configuration: a list: want an object`}},
		{`"mode: off"`, []string{`configuration: a string: want an object`}},
		{`{"mode": 1}`, []string{`mode: 1: want enforce, shadow or off`}},
		{`{"mode": true}`, []string{`mode: true: want enforce, shadow or off`}},
		{`{"mode": "Off"}`, []string{`mode: "Off": want enforce, shadow or off`}},
		{`{"errorFormat": false}`, []string{`errorFormat: false: want dialect or dynamo`}},
		{`{"namespace": 7}`, []string{`namespace: 7: not a string (put it in quotes); want a name`}},
		{`{"namespace": null}`, []string{`namespace: null: want a name`}},
		{`{"limits": {}}`, []string{`limits: an object: want a list of objects`}},
		{`{"limits": [7]}`, []string{`limits[0]: a number: want an object`}},
		{`{"limits": null}`, []string{`limits: null: want a list of objects`}},
		{`{"identity": {"user": "x-user-id"}}`, []string{`identity.user: a string: want an object`}},
		{`{"identity": {"user": {"headers": "x-user-id"}}}`, []string{`identity.user.headers: a string: want a list`}},
		{`{"identity": {"user": {"hash": "true"}}}`, []string{`identity.user.hash: "true": want true or false`}},
		{`{"models": {"aliases": ["a"]}}`, []string{`models.aliases: a list: want an object`}},
		{`{"models": {"aliases": {"a": 1, "": "b"}}}`, []string{`models.aliases.a: 1: not a string`, `models.aliases[""]: wrong key`}},
		{limit(`, "burst": "9"`), []string{`limits[0].burst: "9": want a whole number from 1 to 1000000000000`}},
		{upstream(`"retreat": {"factor": "0.5"}`), []string{`upstreams[0].retreat.factor: "0.5": want a number above 0 and below 1`}},
		{upstream(`"queue": {"maxWait": {"low": 2}}`), []string{`upstreams[0].queue.maxWait.low: 2: want a duration such as "300ms", "2s" or "1h"`}},
		{upstream(`"queue": {"maxWait": "2s"}`), []string{`upstreams[0].queue.maxWait: a string: want an object`}},
		{`{"priority": {"rules": [{"set": 1}]}}`, []string{`priority.rules[0].set: 1: want urgent, high, normal (or medium) or low`}},
		{`{"priority": {"default": []}}`, []string{`priority.default: a list: want urgent`}},
	})
}

func TestKeyErrors(t *testing.T) {
	checkErrors(t, []errorCase{
		{`{"limit": []}`, []string{`limit: unknown key; did you mean "limits"?`}},
		{`{"request_hold": "none"}`, []string{`request_hold: unknown key; did you mean "requestHold"?`}},
		{`{"usage": {"outptuTokens": 1}}`, []string{`usage.outptuTokens: unknown key; did you mean "outputTokens"?`}},
		{`{"admin": {"whatever": {"tokens": "hunter22"}}}`, []string{`admin.whatever: unknown key; want path, tokens or read`}},
		{"{\"a\\n b\": 1}", []string{`configuration: ["a\n b"]: unknown key`[len("configuration: "):]}},
		{`{"mode": "off", "mode": "off"}`, []string{`mode: duplicate key; want each key once`}},
		{`{"mode": "off", "m\u006fde": "off"}`, []string{`mode: duplicate key`}},
		{limit(`, "match": {"headers": {"X-A": "1", "x-a": "2"}}`), []string{`limits[0].match.headers.x-a: given twice`}},
		{limit(`, "match": {"headers": {"x a": "1"}}`), []string{`limits[0].match.headers["x a"]: wrong key; want a header name`}},
		{`{"limits": [{}]}`, []string{
			`limits[0].name: missing; want a name`, `limits[0].unit: missing; want requests,`,
			`limits[0].quantity: missing; want a whole number from 1`, `limits[0].window: missing; want hour, day, week or month, or a duration such as`,
		}},
		{`{"operations": [{}]}`, []string{`operations[0].path: missing`, `operations[0].dialect: missing; want openai.chat,`}},
		{`{"upstreams": [{}]}`, []string{`upstreams[0].name: missing; want a name of 1 to 64`}},
	})
}

func TestRangeErrors(t *testing.T) {
	cases := []errorCase{
		{`{"namespace": ""}`, []string{`namespace: "": want a name`}},
		{`{"namespace": "a/b"}`, []string{`namespace: "a/b": want a name`}},
		{`{"namespace": "` + strings.Repeat("n", 65) + `"}`, []string{`namespace: "` + strings.Repeat("n", 60) + `...": want a name`}},
		{`{"statusCode": {"limits": 200, "breaker": 600}}`, []string{`statusCode.limits: 200: want`, `statusCode.breaker: 600: want`}},
		{`{"operations": [{"path": "v1", "dialect": "openai"}]}`, []string{`operations[0].path: "v1": want a path`, `operations[0].dialect: "openai": want`}},
		{`{"models": {"labels": ["a", ""]}}`, []string{`models.labels[1]: "": want a glob`}},
		{`{"identity": {"missing": ""}}`, []string{`identity.missing: "": want`}},
		{`{"identity": {"tenant": {"headers": ["x tenant"]}}}`, []string{`identity.tenant.headers[0]: "x tenant": want a header name`}},
		{`{"priority": {"header": ":path"}}`, []string{`priority.header: ":path": want "" or a header name`}},
		{`{"usage": {"maxRequestBytes": 1073741825, "promptTokensPerByte": 0, "outputTokens": 0}}`, []string{
			`usage.maxRequestBytes: 1073741825: want`, `usage.promptTokensPerByte: 0: want a number above 0 and at most 10`, `usage.outputTokens: 0: want`}},
		{`{"usage": {"cost": [{"models": [], "prompt": -1}]}}`, []string{`usage.cost[0].models: an empty list: want`, `usage.cost[0].prompt: -1: want a number from 0`}},
		{limit(`, "per": ["users"]`), []string{`limits[0].per[0]: "users": want user, tenant, key, group, model, priority or header:<name>`}},
		{limit(`, "per": ["header:"]`), []string{`limits[0].per[0]: "header:": want user`}},
		{limit(`, "refund": ["6xx", 399, true, "5XX", "42", "+29", 429.5, 429, "429"]`), []string{
			`limits[0].refund[0]: "6xx": want 4xx, 5xx or a status from 400 to 599`, `limits[0].refund[1]: 399: want`, `limits[0].refund[2]: true: want`,
			`limits[0].refund[3]: "5XX": want`, `limits[0].refund[4]: "42": want`, `limits[0].refund[5]: "+29": want`, `limits[0].refund[6]: 429.5: want`,
			`limits[0].refund[8]: "429": given twice`}},
		{limit(`, "match": {"operations": ["chats"]}`), []string{`limits[0].match.operations[0]: "chats": want chat, completions`}},
		{limit(`, "match": {"priorities": ["top"]}`), []string{`limits[0].match.priorities[0]: "top": want urgent`}},
		{`{"upstreams": [{"name": "u", "models": []}]}`, []string{`upstreams[0].models: an empty list: want`}},
		{upstream(`"retreat": {"factor": 1}`), []string{`upstreams[0].retreat.factor: 1: want`}},
		{upstream(`"retreat": {"threshold": 1e400}`), []string{`upstreams[0].retreat.threshold: 1e400: want`}},
		{upstream(`"latency": {"warnAt": 0}`), []string{`upstreams[0].latency.warnAt: 0: want`}},
		{upstream(`"throttle": {"qps": {"factor": 0.5}, "p99": {"periods": 0}}`), []string{
			`upstreams[0].throttle.qps.factor: 0.5: want a number from 1 to 100`, `upstreams[0].throttle.p99.periods: 0: want`}},
		{upstream(`"pressure": {"gpuMemory": 1.01, "onStale": "drop"}`), []string{
			`upstreams[0].pressure.gpuMemory: 1.01: want`, `upstreams[0].pressure.onStale: "drop": want ignore, hold or full`}},
		{upstream(`"breaker": {"fallback": {"status": 99}}`), []string{`upstreams[0].breaker.fallback.status: 99: want`}},
		{upstream(`"breaker": {"fallback": {"routeHeader": {"x-a": "1\r\nx-b: 2"}}}`), []string{
			`upstreams[0].breaker.fallback.routeHeader.x-a: "1\r\nx-b: 2": want a header value`}},
		{upstream(`"queue": {"maxWait": {"low": "0s"}}`), []string{`upstreams[0].queue.maxWait.low: "0s": want a duration`}},
		{upstream(`"breaker": {"slowCall": "500us"}`), []string{`upstreams[0].breaker.slowCall: "500us": want a duration such as "300ms", "2s" or "1h", "0s" or from 1ms to 1h`}},
		{upstream(`"queue": {"fairness": "model"}`), []string{`upstreams[0].queue.fairness: "model": want user, tenant, key, none or header:<name>`}},
		{upstream(`"queue": {"fairness": "header:"}`), []string{`upstreams[0].queue.fairness: "header:": want user, tenant, key, none or header:<name>`}},
		{upstream(`"queue": {"fairness": "group"}`), []string{`upstreams[0].queue.fairness: "group": want user, tenant, key, none or header:<name>`}},
		{`{"priority": {"objectives": {"chat": "higher"}}}`, []string{`priority.objectives.chat: "higher": want urgent, high, normal (or medium) or low`}},
		{`{"priority": {"objectives": {"chat": 100}}}`, []string{`priority.objectives.chat: 100: not a string (put it in quotes); want urgent, high, normal (or medium) or low`}},
		{`{"priority": {"objectiveHeader": ""}}`, []string{`priority.objectiveHeader: "": want a header name such as "x-user-id"`}},
		{`{"admin": {"path": "spillway", "tokens": ["short"]}}`, []string{`admin.path: "spillway": want "" or a path`, `admin.tokens[0]: want "sha256:" and the 64`}},
		{`{"admin": {"path": "/spillway", "read": "token"}}`, []string{`admin.read: token: without tokens nobody could read`}},
		{`{"admin": {"tokens": ["` + hash + `", "` + strings.ToUpper(hash[:7]) + hash[7:] + `"]}}`, []string{`admin.tokens[1]: want "sha256:" and the 64`}},
		{`{"admin": {"tokens": ["` + hash + `", "` + hash + `"]}}`, []string{`admin.tokens[1]: `}},
		{`{"pressureSource": {"cluster": "", "path": "/a?b"}}`, []string{`pressureSource.cluster: "": want`, `pressureSource.path: "/a?b": want`}},
	}
	for _, number := range []string{"0", "-1", "1.5", "1e13", "1000000000001", "1e999", "99999999999999999999"} {
		cases = append(cases, errorCase{limit(`, "burst": ` + number), []string{`limits[0].burst: ` + number + `: want a whole number`}})
	}
	for _, window := range []string{"", "1", "1d", "-1s", "+1s", "0s", "999ms", "8785h", "9999999h", "1 s"} {
		cases = append(cases, errorCase{
			`{"limits": [{"name": "a", "unit": "requests", "quantity": 1, "window": "` + window + `"}]}`,
			[]string{`limits[0].window: "` + window + `": want hour, day, week or month, or a duration such as "60s" or "1h", from 1s to 8784h`}})
	}
	checkErrors(t, cases)
}

func TestContradictions(t *testing.T) {
	checkErrors(t, []errorCase{
		{`{"limits": [{"name": "a", "unit": "requests", "quantity": 1, "window": "1s"}, {"name": "a", "unit": "cost", "quantity": 1, "window": "1s"}]}`,
			[]string{`limits[1].name: "a": already used by limits[0]`}},
		{`{"upstreams": [{"name": "u", "models": ["a"]}, {"name": "u"}]}`, []string{`upstreams[1].name: "u": already used by upstreams[0]`}},
		{`{"upstreams": [{"name": "u"}, {"name": "v", "models": ["a"]}]}`, []string{`upstreams[0].models: "*": matches every model`}},
		{`{"operations": [{"path": "/a", "dialect": "gemini"}, {"path": "/a", "dialect": "other"}]}`, []string{`operations[1].path: "/a": already used by operations[0]`}},
		{`{"models": {"aliases": {"a": "b", "b": "c"}}}`, []string{`models.aliases.a: "b": is an alias itself; want the name that it stands for, "c"`}},
		{limit(`, "per": ["user", "header:X-A", "header:x-a"]`), []string{`limits[0].per[2]: "header:x-a": given twice`}},
		{limit(`, "match": {"priorities": ["normal", "medium"]}`), []string{`limits[0].match.priorities[1]: "medium": given twice`}},
		{`{"priority": {"rules": [{}, {"set": "low", "max": "low"}]}}`, []string{
			`priority.rules[0]: want exactly one of set and max`, `priority.rules[1]: want exactly one of set and max`}},
		{upstream(`"budget": {"burst": 4}`), []string{`upstreams[0].budget.burst: 4: without a budget`}},
		{upstream(`"budget": {"requests": 4}, "retreat": {"minRequests": 5}`), []string{`upstreams[0].retreat.minRequests: 5: above budget.requests; want at most 4`}},
		{upstream(`"concurrency": {"reserved": {"high": 1}}`), []string{`upstreams[0].concurrency.reserved: 1: reserves slots of no limit`}},
		{upstream(`"concurrency": {"max": "automatic"}`), []string{`upstreams[0].concurrency.max: "automatic": want a whole number from 0 to 1000000, or auto`}},
		{upstream(`"concurrency": {"max": "auto", "min": 9, "limit": 8}`), []string{`upstreams[0].concurrency.min: 9: above limit; want at most 8`}},
		{upstream(`"concurrency": {"max": "auto", "min": 0}`), []string{`upstreams[0].concurrency.min: 0: want a whole number`}},
		{upstream(`"concurrency": {"max": "auto", "limit": 8, "reserved": {"high": 8}}`), []string{`upstreams[0].concurrency.reserved: 8: leaves no slot to the other priorities; want less than limit, 8`}},
		{upstream(`"concurrency": {"max": 3, "reserved": {"high": 1, "urgent": 2}}`), []string{`upstreams[0].concurrency.reserved: 3: leaves no slot`}},
		{upstream(`"retreat": {"threshold": 0.02}`), []string{`upstreams[0].retreat.recoverThreshold: 0.02: want less than threshold, 0.02`}},
		{upstream(`"retreat": {"every": "61s"}`), []string{`upstreams[0].retreat.every: "1m1s": want at most window, "1m"`}},
		{upstream(`"breaker": {"fallback": {"status": 503, "routeHeader": {"x-a": "1"}}}`), []string{`upstreams[0].breaker.fallback: both an answer and a route`}},
		{upstream(`"breaker": {"fallback": {"body": "later"}}`), []string{`upstreams[0].breaker.fallback.status: missing`}},
		{upstream(`"pressure": {"ceilings": {"low": 0.91, "high": 0.5}}`), []string{
			`upstreams[0].pressure.ceilings.normal: 0.9: above that of a higher priority; want at most that of high, 0.5`,
			`upstreams[0].pressure.ceilings.low: 0.91: above that of a higher priority; want at most that of normal, 0.9`}},
		{`{"pressureSource": {"timeout": "3s", "staleAfter": "2s"}}`, []string{
			`pressureSource.timeout: "3s": want at most interval, "2s"`, `pressureSource.staleAfter: "2s": want more than interval, "2s"`}},
	})
}

// Errors of different sections come together, one per line.
func TestAllErrorsAtOnce(t *testing.T) {
	_, err := Parse([]byte(`{
		"mdoe": "off",
		"limits": [{"name": "a", "unit": "requests", "quantity": 0, "window": "1s"}, {"name": "a", "unit": "requests", "quantity": 1, "window": "1s"}],
		"upstreams": [{"name": "u", "queue": {"maxWait": {"low": "2 s"}}, "concurrency": {"reserved": {"high": 1}}}]}`))
	want := `mdoe: unknown key; did you mean "mode"?
limits[0].quantity: 0: want a whole number from 1 to 1000000000000
limits[1].name: "a": already used by limits[0]; want another
upstreams[0].concurrency.reserved: 1: reserves slots of no limit; want max above 1
upstreams[0].queue.maxWait.low: "2 s": want a duration such as "300ms", "2s" or "1h", from 1ms to 1h`
	if err == nil || err.Error() != want {
		t.Errorf("got:\n%v\nwant:\n%s", err, want)
	}
}

func TestErrorsAreBounded(t *testing.T) {
	_, err := Parse([]byte(`{"models": {"labels": [` + strings.Repeat(`"",`, 9999) + `""]}}`))
	var errs fieldErrors
	if !errors.As(err, &errs) || len(errs) != maxErrors+1 || errs[maxErrors].problem != "9900 more errors are not shown" {
		t.Errorf("got %d errors: %.200v", len(errs), err)
	}
}

func TestNoErrorShowsTheToken(t *testing.T) {
	const token = "h\u00e9-s3cret-7"
	quoted := strconv.Quote(token)
	for _, text := range []string{
		`{"admin": {"tokens": "` + token + `"}}`, // no list
		`{"admin": {"tokens": ["` + token + `"]}}`,
		`{"admin": {"tokens": {"value": "` + token + `"}}}`,
		`{"admin": {"tokn": "` + token + `"}}`,
		`{"admin": {"tokens": ["` + token + `"], "tokens": ["` + token + `"]}}`,
		`{"admin": "` + token + `"}`,
		`{"admin": ["` + token + `"]}`,
		`["` + token + `"]`,
		`"` + token + `"`,
		`{"admin": {"tokens": ["` + token + `"}`,
		`{"admin": {"tokens": ["` + token,
		`{"admin": {"tokens": ` + token + `}}`,
		`{"admin": {"tokens": ["` + token + `"]}} garbage`,
		`{"admin": {"tokens": 73737373}}`,
		`{"admin": {"tokens": ["sha256:` + strings.Repeat("0", 63) + token + `"]}}`,
	} {
		_, err := Parse([]byte(text))
		if err == nil {
			t.Errorf("%s: want an error", text)
			continue
		}
		for _, part := range []string{token, quoted, "s3cret", "73737373"} {
			if strings.Contains(err.Error(), part) {
				t.Errorf("%s: %q shows %q", text, err, part)
			}
		}
	}
}
