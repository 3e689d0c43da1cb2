package pagetest

import (
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"
)

func TestThePageFollowsTheProxy(t *testing.T) {
	t.Parallel()
	m := newMock(t)
	b := open(t, m.URL+"/spillway/", 1280, false)
	for _, text := range []string{"enforce", "4 workers", "vllm", "retreating", "mistral-7b", "llama-3 ttft", "181 k", "Instance 2", "user-completion-tokens", "Off: throttle.",
		"38 of 40 slots in use, learned (40: ttft 310 ms is 1.9 times the best 160 ms)"} {
		b.shows(text)
	}
	b.until(`/^[1-9]/.test(document.querySelector('.tile p').textContent)`, "there is a rate")
	const waiting = `document.querySelectorAll('.figure')[1].textContent`
	before := eval[string](b, waiting)
	b.until(waiting+" !== '"+before+"'", "the queue moves")
	// What isn't shown isn't asked for.
	for _, path := range []string{"/spillway/subjects", "/spillway/decisions", "/spillway/config"} {
		if m.asked[path] != 0 {
			t.Errorf("%s was asked for though nobody looks", path)
		}
	}
}

// Workers tell of each other with up to a second's delay: a rate of the first second would be anything between nothing and twice as much.
func TestRatesBeginWithoutASpike(t *testing.T) {
	t.Parallel()
	b := open(t, newMock(t).URL+"/spillway/", 1280, false)
	b.shows("vllm")
	rates := eval[[]float64](b, `(() => {
		recent.length = history_.rate.length = 0;
		const clock = performance.now;
		[0, 200, 220, 300, 420].forEach((n, i) => { performance.now = () => i * 1000; remember({ requests: { ALLOWED: n } }); });
		performance.now = clock;
		return history_.rate;
	})()`)
	if len(rates) != 2 || rates[0] != 100 || rates[1] != 105 {
		t.Errorf("the rates are %v, want 100 and 105", rates)
	}
}

func TestTilesSayWhatTheyLack(t *testing.T) {
	t.Parallel()
	m := newMock(t)
	m.set(func() { m.noLatency = true })
	b := open(t, m.URL+"/spillway/", 1280, false)
	b.until(`document.body.innerText.split('Known where a latency gate is on.').length === 3`, "two tiles say what they lack")
}

func TestNamesDoNotWrapOnAPhone(t *testing.T) {
	t.Parallel()
	b := open(t, newMock(t).URL+"/spillway/#refusals", 360, false)
	b.shows("user=batch-nightly")
	if wrapped := eval[[]string](b, `[...document.querySelectorAll('code')].filter(e => e.textContent.length < 40 && e.getClientRects().length > 1).map(e => e.textContent)`); len(wrapped) > 0 {
		t.Errorf("on two lines: %q", wrapped)
	}
}

func TestAMaskCoversAPageThatHearsNothingAndGoesByItself(t *testing.T) {
	t.Parallel()
	m := newMock(t)
	b := open(t, m.URL+"/spillway/", 1280, true)
	b.shows("vllm")
	for began := time.Now(); ; {
		m.set(func() { m.silent = true })
		b.shows("No contact with the proxy")
		var after time.Duration
		m.set(func() { after = time.Since(m.heard) })
		if after >= 4*time.Second {
			break
		}
		if time.Since(began) > patience {
			t.Fatalf("the mask is there %v after the proxy was heard", after)
		}
		m.set(func() { m.silent = false }) // the browser itself may have stood still
		b.until("document.querySelector('#mask').hidden", "the mask goes")
	}
	b.accessible("with the mask")
	m.set(func() { m.silent = false })
	b.until("document.querySelector('#mask').hidden", "the mask goes")
}

func TestAThresholdIsChangedAndUndone(t *testing.T) {
	t.Parallel()
	m := newMock(t)
	b := open(t, m.URL+"/spillway/#tuning", 1280, true)
	b.shows("Limit user-completion-tokens")
	eval[any](b, "document.querySelectorAll('details').forEach(d => { d.open = true; })")
	const quantity = `[id="f/limits/0/quantity"]`
	b.enter(quantity, "500")
	b.press("Apply 1")
	// There is no token yet.
	b.enter("dialog input", "wrong")
	b.press("Sign in")
	b.shows("this token is none of those that the configuration has")
	b.enter("dialog input", token)
	b.press("Sign in")
	b.shows("1 not as in the file")
	b.shows("file: 300, follows") // the burst
	b.until("[...document.querySelectorAll('button')].some(e => e.textContent === 'Apply' && e.disabled)", "there is nothing left to apply")
	b.shows("file: 300")
	if n := eval[int](b, "document.querySelectorAll('.entry button').length"); n != 1 {
		t.Errorf("%d values can be reset, and one was overridden", n)
	}
	want := `PATCH /spillway/overrides {"limits":{"user-completion-tokens":{"quantity":500}}}`
	if got := m.changes(); len(got) != 1 || got[0] != want {
		t.Fatalf("sent %q, want %s", got, want)
	}
	b.press("Copy as YAML")
	if got, want := eval[string](b, "document.querySelector('textarea').value"), "limits:\n  - name: user-completion-tokens\n    quantity: 500"; got != want {
		t.Errorf("as YAML: %q, want %q", got, want)
	}
	b.press("Cancel")
	m.set(func() { m.lags = true }) // who is asked next doesn't know of the change
	b.press("Reset limits user-completion-tokens quantity")
	b.until("!document.body.innerText.includes('file: 300') && document.querySelector('"+quantity+"').value === '300'", "nothing differs, at once")
	b.until("performance.now() - known.settled > 1500", "it is asked again")
	if !eval[bool](b, "!document.body.innerText.includes('file: 300')") {
		t.Error("the page believes who doesn't know of the change")
	}
	m.set(func() { m.lags = false })
	if got := m.changes(); !strings.HasPrefix(got[len(got)-1], "DELETE /spillway/overrides?path=%2Flimits%2F0%2Fquantity ") {
		t.Errorf("sent %q", got)
	}
	b.until(`document.querySelector('`+quantity+`').value === '300'`, "the file's value is back")
}

func TestWhatIsWrongStandsAtItsField(t *testing.T) {
	t.Parallel()
	m := newMock(t)
	m.set(func() { m.refuse = 422 })
	b := open(t, m.URL+"/spillway/#tuning", 1280, true)
	b.shows("Limit user-completion-tokens")
	eval[any](b, "document.querySelectorAll('details').forEach(d => { d.open = true; })")
	b.enter(`[id="f/limits/0/quantity"]`, "0")
	b.press("Apply 1")
	b.enter("dialog input", token)
	b.press("Sign in")
	b.until(`document.querySelector('[id="f/limits/0/quantity-doc"]')?.textContent.includes('must be from 1 to 1000000000000')`, "the error is at the field")
	b.until(`document.querySelector('[role=alert].error').textContent === 'and nothing was changed'`, "what is about no field stands above")
	b.accessible("with errors")
	// It can be taken back, and what was typed is not lost until then.
	if got := eval[string](b, `document.querySelector('[id="f/limits/0/quantity"]').value`); got != "0" {
		t.Errorf("the field has %q", got)
	}
	b.press("Discard")
	b.until(`document.querySelector('[id="f/limits/0/quantity"]').value === '300'`, "it is as before")
}

func TestAUserIsUnblocked(t *testing.T) {
	t.Parallel()
	m := newMock(t)
	b := open(t, m.URL+"/spillway/#subjects", 1280, false)
	b.shows("user=ann")
	eval[any](b, "setToken('"+token+"')")
	b.press("Unblock user=ann")
	b.shows("user=ann may go on at once.")
	b.until("document.querySelector('[aria-label=\"Balance of user=ann\"]')", "her balance is shown")
	b.press("Grant more to user=ann")
	b.enter("dialog [name=grant]", "5000")
	b.press("Grant")
	b.shows("Granted 5,000 to user=ann for 1h.")
	want := []string{`POST /spillway/limits/user-completion-tokens/subjects/user%3Dann {"reset":true}`,
		`POST /spillway/limits/user-completion-tokens/subjects/user%3Dann {"grant":5000,"for":"1h"}`}
	if got := m.changes(); len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("sent %q, want %q", got, want)
	}
}

func TestAnUpstreamIsDrainedAndTakesRequestsAgain(t *testing.T) {
	t.Parallel()
	m := newMock(t)
	b := open(t, m.URL+"/spillway/", 1280, true)
	b.shows("vllm")
	b.press("Drain")
	b.press("Cancel")
	b.press("Drain")
	b.shows("Drain vllm?")
	b.press("Drain")  // now the dialog's
	b.press("Cancel") // there is no token: nothing becomes of it
	b.press("Drain")
	b.shows("Drain vllm?")
	b.press("Drain")
	b.enter("dialog input", token)
	b.press("Sign in")
	b.shows("drained")
	for _, step := range [][2]string{{"Reset retreat", "begins anew"}, {"Reset breaker", "is closed"}} {
		b.press(step[0])
		b.shows(step[1])
	}
	b.press("Resume")
	b.shows("takes requests again")
	want := "POST /spillway/upstreams/vllm/drain |POST /spillway/upstreams/vllm/retreat/reset |POST /spillway/upstreams/vllm/breaker/reset |POST /spillway/upstreams/vllm/resume "
	if got := strings.Join(m.changes(), "|"); got != want {
		t.Errorf("sent %q, want %q", got, want)
	}
}

func TestABalanceIsLookedUp(t *testing.T) {
	t.Parallel()
	b := open(t, newMock(t).URL+"/spillway/#subjects", 1280, true)
	b.shows("user=mallory") // whom only the list of the most refused has
	b.enter("[name=subject]", "nonsense")
	b.press("Look up")
	b.shows("subject: want user=…")
	b.enter("[name=subject]", "user=zoe")
	b.press("Look up")
	b.until("document.querySelector('[aria-label=\"Balance of user=zoe\"]')", "the balance is shown")
}

func TestNamesThatClientsGiveAreText(t *testing.T) {
	t.Parallel()
	m := newMock(t)
	b := open(t, m.URL+"/spillway/#subjects", 1280, false)
	b.shows(hostile)
	b.press("Refusals")
	b.shows(hostile)
	if title := eval[string](b, "document.title"); title != "Spillway" {
		t.Errorf("a client's script ran: the title is %q", title)
	}
	if n := eval[int](b, "document.querySelectorAll('main script, main img').length"); n != 0 {
		t.Errorf("a client's name made %d elements", n)
	}
}

func TestRefusalsAreSearched(t *testing.T) {
	t.Parallel()
	b := open(t, newMock(t).URL+"/spillway/#refusals", 1280, false)
	b.shows("6 of 6")
	b.enter("input[type=search]", "breaker")
	b.shows("1 of 6")
	b.shows("user=bob")
	b.enter("input[type=search]", "nobody at all")
	b.shows("None of them has this.")
}

// views are the page's, with a text that each shows when it is complete.
var views = map[string]string{"overview": "Instance 2", "subjects": "user=ann", "refusals": "user=bob", "tuning": "Limit user-completion-tokens"}

func TestEverybodyCanUseThePage(t *testing.T) {
	t.Parallel()
	m := newMock(t)
	m.set(func() {
		m.quantity, m.overrides = 500, object{"limits": object{"user-completion-tokens": object{"quantity": 500}}}
	})
	for _, width := range []int64{1280, 360} {
		b := open(t, m.URL+"/spillway/", width, false)
		if *screenshots != "" {
			b.until("history_.rate.length > 25", "there is something to show")
		}
		for view, text := range views {
			for _, scheme := range []string{"light", "dark"} {
				b.prefers(scheme)
				eval[any](b, "show('"+view+"')")
				b.shows(text)
				eval[any](b, "document.querySelectorAll('details').forEach((d, i) => { d.open = i < 2; })")
				when := view + ", " + scheme
				b.accessible(when)
				if wide := eval[int64](b, "document.documentElement.scrollWidth"); wide > width {
					t.Errorf("%s: %d px wide on a screen of %d", when, wide, width)
				}
				b.picture(map[int64]string{1280: "", 360: "phone-"}[width]+view+"-"+scheme, width)
			}
		}
	}
}

func TestTheThemeIsTheSystemsUntilItIsChosen(t *testing.T) {
	t.Parallel()
	b := open(t, newMock(t).URL+"/spillway/", 1280, false)
	b.shows("vllm")
	const ground = "getComputedStyle(document.documentElement).backgroundColor"
	const light, dark = "rgb(244, 246, 249)", "rgb(14, 19, 25)"
	for _, step := range []struct{ system, button, want string }{
		{"dark", "", dark}, {"light", "", light}, {"light", "Theme: system", dark}, {"dark", "Theme: dark", light}, {"dark", "Theme: light", dark},
	} {
		b.prefers(step.system)
		if step.button != "" {
			b.press(step.button)
		}
		if got := eval[string](b, ground); got != step.want {
			t.Errorf("system %s, pressed %q: %s, want %s", step.system, step.button, got, step.want)
		}
	}
}

func TestTheKeyboardIsEnough(t *testing.T) {
	t.Parallel()
	b := open(t, newMock(t).URL+"/spillway/", 1280, false)
	b.shows("vllm")
	eval[any](b, "document.querySelector('#tab-overview').focus()")
	b.do(key(kb.ArrowRight))
	b.shows("user=ann")
	if got := eval[string](b, "document.activeElement.id"); got != "tab-subjects" {
		t.Errorf("the focus is on %q", got)
	}
	// The page is drawn anew every second; who has the focus keeps it.
	eval[any](b, "document.querySelector('[aria-label=\"Unblock user=ann\"]').focus()")
	b.until("performance.now() - known.at < 200", "a snapshot comes")
	if got := eval[string](b, "document.activeElement.ariaLabel"); got != "Unblock user=ann" {
		t.Errorf("the focus is on %q", got)
	}
	b.do(key(kb.Enter))
	b.until("document.querySelector('dialog').open", "a token is asked for")
	b.do(key(kb.Escape))
	b.until("!document.querySelector('dialog').open", "the dialog is gone")
}

func TestBarsMove(t *testing.T) {
	t.Parallel()
	b := open(t, newMock(t).URL+"/spillway/", 1280, false)
	b.shows("vllm")
	const moves = "getComputedStyle(document.querySelector('.bars i')).transitionDuration"
	if got := eval[string](b, moves); got != "0.3s" {
		t.Errorf("a bar moves in %s, want 0.3s", got)
	}
	b.prefers("light") // with reduced motion
	if got := eval[string](b, moves); got != "0s" {
		t.Errorf("a bar moves in %s for who wants no motion", got)
	}
}
