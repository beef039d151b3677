package browser

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// browser is one chromium for all tests; each tab is a new visitor in it, with an
// empty memory.
type browser struct {
	ctx   context.Context
	close func()
}

func openBrowser(profile string) (*browser, error) {
	path, err := exec.LookPath("chromium")
	if err != nil {
		return nil, fmt.Errorf("chromium is missing: apt-get install chromium, then run this again: %w", err)
	}
	alloc, free := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.UserDataDir(profile), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-component-update", true), chromedp.Flag("hide-scrollbars", true),
		// The system's dialogues and proxies are no part of this.
		chromedp.Flag("no-proxy-server", true), chromedp.Env("DBUS_SESSION_BUS_ADDRESS="),
		chromedp.ModifyCmdFunc(func(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }),
	)...)
	ctx, cancel := chromedp.NewContext(alloc)
	if err := chromedp.Do(ctx); err != nil {
		cancel()
		free()
		return nil, fmt.Errorf("start chromium: %w", err)
	}
	return &browser{ctx, func() {
		_ = chromedp.Cancel(ctx) // what is left is killed
		cancel()
		free()
	}}, nil
}

// look is how a page is looked at.
type look struct {
	theme string // light or dark
	width int64  // of the window, CSS pixels
}

const (
	desktop = 1280
	phone   = 390
)

func (l look) String() string { return fmt.Sprintf("%s-%d", l.theme, l.width) }

// tab is one visitor's tab, and all that went wrong in it.
type tab struct {
	t      *testing.T
	ctx    context.Context
	origin string
	also   string // another origin that may be asked
	look   look

	mu      sync.Mutex // guards what is below
	faults  []string
	excused func(fault string) bool // nil excuses nothing
}

// open opens a tab at the pages of an origin, and looks at the end whether
// anything went wrong in it.
func (b *browser) open(t *testing.T, origin string, l look) *tab {
	t.Helper()
	tab := &tab{t: t, origin: origin, look: l}
	var cancel context.CancelFunc
	tab.ctx, cancel = chromedp.NewContext(b.ctx, chromedp.WithNewBrowserContext(), chromedp.WithListener(tab.hear))
	t.Cleanup(func() {
		tab.fine()
		cancel()
	})
	size := chromedp.EmulateViewport(l.width, 800)
	if l.width < 600 {
		size = chromedp.EmulateViewport(l.width, 844, chromedp.EmulateMobile, chromedp.EmulateTouch)
	}
	tab.do(size, chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: l.theme}, {Name: "prefers-reduced-motion", Value: "reduce"},
		}})
		if err != nil {
			return err
		}
		_, err = chromedp.Call(ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{
			Source: `addEventListener('securitypolicyviolation', (e) => console.error('policy: ' + e.violatedDirective + ' ' + e.blockedURI))`,
		})
		return err
	}))
	return tab
}

// hear takes note of what must not happen.
func (tab *tab) hear(ev any) {
	switch e := ev.(type) {
	case *runtime.EventExceptionThrown:
		text := e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			text += " " + e.ExceptionDetails.Exception.Description
		}
		tab.fault("exception: %s", text)
	case *runtime.EventConsoleAPICalled:
		if kind := string(e.Type); kind == "error" || kind == "warning" || kind == "assert" {
			var words []string
			for _, a := range e.Args {
				words = append(words, string(a.Value)+a.Description)
			}
			tab.fault("console.%s: %s", kind, strings.Join(words, " "))
		}
	case *log.EventEntryAdded:
		if level := string(e.Entry.Level); level == "error" || level == "warning" {
			tab.fault("%s: %s %s", e.Entry.Source, e.Entry.Text, e.Entry.URL)
		}
	case *network.EventRequestWillBeSent:
		if u, err := url.Parse(e.Request.URL); err != nil || u.Scheme != "about" && u.Scheme != "data" && u.Scheme != "blob" && u.Scheme+"://"+u.Host != tab.origin && u.Scheme+"://"+u.Host != tab.also {
			tab.fault("request to another origin: %s", e.Request.URL)
		}
	case *network.EventResponseReceived:
		if e.Response.Status >= 400 {
			tab.fault("answer %d: %s", e.Response.Status, e.Response.URL)
		}
	case *network.EventLoadingFailed:
		if !e.Canceled { // by the page itself, or because it was left
			tab.fault("request failed: %s %s", e.Type, e.ErrorText)
		}
	}
}

func (tab *tab) fault(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	tab.mu.Lock()
	defer tab.mu.Unlock()
	if tab.excused == nil || !tab.excused(text) {
		tab.faults = append(tab.faults, text)
	}
}

// excuse says which faults are no fault from now on; nil is none.
func (tab *tab) excuse(which func(fault string) bool) {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	tab.excused = which
}

// fine asserts that nothing has gone wrong so far.
func (tab *tab) fine() {
	tab.t.Helper()
	tab.mu.Lock()
	defer tab.mu.Unlock()
	for _, f := range tab.faults {
		tab.t.Errorf("in the browser, %s: %s", tab.look, f)
	}
	tab.faults = nil
}

// do carries out steps.
func (tab *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	tab.t.Helper()
	// The context of a tab's first steps is its life; a timeout must not be in it.
	stop := time.AfterFunc(patience, func() { tab.fault("a step took longer than %s", patience); _ = chromedp.Cancel(tab.ctx) })
	defer stop.Stop()
	if err := chromedp.Do(tab.ctx, steps...); err != nil {
		tab.t.Fatal(err)
	}
}

// eval evaluates JavaScript, and waits for it when it promises something.
func eval[T any](tab *tab, script string) T {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
	if err != nil {
		tab.t.Fatalf("%v\n%s", err, script)
	}
	return v
}

// until waits for an expression to become true.
func (tab *tab) until(what, script string) {
	tab.t.Helper()
	tab.untilGo(what, func() bool { return eval[bool](tab, "!!("+script+")") })
}

func (tab *tab) untilGo(what string, ok func() bool) {
	tab.t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			text := eval[string](tab, `document.body.innerText`)
			tab.t.Fatalf("%s: not within %s. The page says:\n%s", what, patience, text[:min(len(text), 3000)])
		}
	}
}

// visit opens one of the pages, such as "#/blocks", and waits until it is there.
func (tab *tab) visit(hash string) {
	tab.t.Helper()
	// From elsewhere: another hash of the same document would load nothing.
	tab.do(chromedp.Navigate("about:blank"), chromedp.Navigate(tab.origin+"/"+hash))
	tab.there()
}

// there waits until the page has all its data.
func (tab *tab) there() {
	tab.t.Helper()
	tab.until("the page is there", `document.querySelector('#title') && !document.querySelector('.loading') && document.querySelector('footer').innerText.includes('Version')`)
}

// shoot writes what the tab shows, from top to bottom.
func (tab *tab) shoot(name string) {
	tab.t.Helper()
	eval[bool](tab, `document.fonts.ready.then(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true)))))`)
	ctx, cancel := context.WithTimeout(tab.ctx, patience)
	defer cancel()
	png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err != nil {
		tab.t.Fatal(err)
	}
	const dir = "../out/screens"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		tab.t.Fatal(err)
	}
	if err := os.WriteFile(fmt.Sprintf("%s/%s-%s.png", dir, name, tab.look), png, 0o644); err != nil {
		tab.t.Fatal(err)
	}
}
