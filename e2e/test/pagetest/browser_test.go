// Package pagetest opens the dashboard in a real Chromium: on a mock of the admin surface, which stands as a test wants it, and through Envoy.
package pagetest

import (
	"bytes"
	"compress/gzip"
	"context"
	_ "embed"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
)

// screenshots is where pictures of the page go: go test ./test/pagetest -screenshots ../../../docs/images.
var screenshots = flag.String("screenshots", "", "write pictures of the dashboard into this directory")

// patience is how long a condition may take to come true; the machine may be slow.
const patience = 5 * time.Minute

// builtPage is the page as it is generated, with the headers that are served with it.
func builtPage(t *testing.T) (html string, headers map[string]string) {
	t.Helper()
	root, err := envoyproc.Root()
	if err != nil {
		t.Fatal(err)
	}
	directory := filepath.Join(root, "filter/internal/page")
	compressed, err := os.ReadFile(filepath.Join(directory, "page.html.gz"))
	if err != nil {
		t.Fatal(err)
	}
	code, err := os.ReadFile(filepath.Join(directory, "page.go"))
	if err != nil {
		t.Fatal(err)
	}
	policy := regexp.MustCompile(`const Policy = "(.*)"`).FindSubmatch(code)
	if policy == nil {
		t.Fatal("page.go has no policy")
	}
	return unzip(t, compressed), map[string]string{"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": string(policy[1])}
}

func unzip(t *testing.T, compressed []byte) string {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(compressed))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// browser is a tab of Chromium, and what went wrong in it.
type browser struct {
	t   *testing.T
	ctx context.Context

	mu     sync.Mutex
	errors []string
}

// open opens an address in a tab that is so wide. What the page logs as an error, or throws, fails the test; outages says that requests may fail,
// which the browser logs by itself.
func open(t *testing.T, address string, width int64, outages bool) *browser {
	t.Helper()
	program := os.Getenv("CHROMIUM")
	if program == "" {
		t.Fatal("CHROMIUM is not set: make test sets it, after make chromium")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.NoSandbox, chromedp.WSURLReadTimeout(patience),
		chromedp.Flag("force-color-profile", "srgb"))
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	ctx, leave := chromedp.NewContext(allocator, chromedp.WithErrorf(func(string, ...any) {})) // it tells of events that it doesn't know
	t.Cleanup(leave)
	b := &browser{t: t, ctx: ctx}
	chromedp.ListenTarget(ctx, func(event any) { b.listen(event, outages) })
	t.Cleanup(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if len(b.errors) > 0 {
			t.Errorf("the console has errors:\n%s", strings.Join(b.errors, "\n"))
		}
	})
	b.do(cdplog.Enable(), runtime.Enable(), chromedp.EmulateViewport(width, 900), chromedp.Navigate(address))
	return b
}

func (b *browser) listen(event any, outages bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch event := event.(type) {
	case *runtime.EventExceptionThrown:
		b.errors = append(b.errors, event.ExceptionDetails.Error())
	case *runtime.EventConsoleAPICalled:
		if event.Type == runtime.APITypeError || event.Type == runtime.APITypeWarning || event.Type == runtime.APITypeAssert {
			b.errors = append(b.errors, fmt.Sprint(event.Type, event.Args))
		}
	case *cdplog.EventEntryAdded:
		if event.Entry.Level == cdplog.LevelError && !(outages && event.Entry.Source == cdplog.SourceNetwork) {
			b.errors = append(b.errors, event.Entry.Text)
		}
	}
}

func (b *browser) do(actions ...chromedp.Action) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	// The tab lives as long as its first context, so that one has no deadline.
	if chromedp.FromContext(b.ctx).Target == nil {
		ctx = b.ctx
	}
	if err := chromedp.Run(ctx, actions...); err != nil {
		b.t.Fatalf("the browser: %v", err)
	}
}

// eval gives the value of an expression, or what its promise gives.
func eval[T any](b *browser, expression string) (value T) {
	b.t.Helper()
	b.do(chromedp.Evaluate(expression, &value, func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }))
	return value
}

// until waits for an expression to be true.
func (b *browser) until(expression, what string) {
	b.t.Helper()
	for deadline := time.Now().Add(patience); !eval[bool](b, "!!("+expression+")"); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatalf("%s: not in %v. The page:\n%s", what, patience, eval[string](b, "document.body.innerText"))
		}
	}
}

// shows waits for a text on the page.
func (b *browser) shows(text string) {
	b.t.Helper()
	quoted, _ := json.Marshal(text)
	b.until("document.body.innerText.includes("+string(quoted)+")", "the page shows "+text)
}

// press clicks the button, tab or link with that name.
func (b *browser) press(name string) {
	b.t.Helper()
	quoted, _ := json.Marshal(name)
	const find = `[...(document.querySelector('dialog[open]') || document).querySelectorAll('button')].find(e => !e.disabled && e.checkVisibility() && [e.textContent, e.ariaLabel].includes(%s))`
	b.until(fmt.Sprintf(find, quoted), "there is a button "+name)
	eval[any](b, fmt.Sprintf(find, quoted)+".click()")
}

// enter types into a field, as a person does: what was there goes.
func (b *browser) enter(selector, text string) {
	b.t.Helper()
	b.do(chromedp.WaitVisible(selector, chromedp.ByQuery), chromedp.Focus(selector, chromedp.ByQuery))
	eval[any](b, "document.activeElement.select?.()")
	b.do(chromedp.KeyEvent(text))
}

//go:embed testdata/axe.js
var runAxe string

// accessible fails the test for what axe-core finds wrong with the page as it stands.
func (b *browser) accessible(when string) {
	b.t.Helper()
	file := os.Getenv("SPILLWAY_AXE")
	axe, err := os.ReadFile(file)
	if err != nil {
		b.t.Fatalf("axe-core: %v: make test fetches it, by make axe", err)
	}
	if !eval[bool](b, "typeof axe === 'object'") {
		eval[any](b, string(axe)+"\n;0")
	}
	for _, finding := range eval[[]string](b, runAxe) {
		b.t.Errorf("%s: %s", when, finding)
	}
}

// dark and light are what the system prefers.
func (b *browser) prefers(scheme string) {
	b.t.Helper()
	b.do(emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}}))
}

// pictures are those that the documentation has.
var pictures = []string{"overview-light", "overview-dark", "subjects-light", "tuning-light", "phone-overview-dark"}

// picture writes what the page looks like, if that picture is wanted.
func (b *browser) picture(name string, width int64) {
	b.t.Helper()
	if *screenshots == "" || !slices.Contains(pictures, name) {
		return
	}
	var png []byte
	b.do(chromedp.EmulateViewport(width, 900))
	if strings.Contains(name, "overview") {
		b.do(chromedp.FullScreenshot(&png, 100))
	} else {
		b.do(chromedp.CaptureScreenshot(&png))
	}
	if err := os.WriteFile(filepath.Join(*screenshots, name+".png"), png, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// key is a key pressed and released, wherever the focus is.
func key(code string) chromedp.Action { return chromedp.KeyEvent(code) }
