package sim

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"strings"
	"time"

	"github.com/open-ethereum-pool/open-ethereum-pool/payouts"
)

// process is one payouts process. The engine's code runs in a coroutine that
// stops before every call of a port, so that the world can go on meanwhile, and
// can end it there.
type process struct {
	w    *World
	name string
	file *journalFile
	skew time.Duration // of its clock
	job  func(context.Context, *payouts.Payer) error

	ctx    context.Context
	cancel context.CancelFunc
	next   func() (struct{}, bool)
	stop   func()
	yield  func(struct{}) bool
	owner  string

	at      string        // the call it stands before
	wake    time.Duration // it sleeps until then
	stalled bool          // its host does not run for now
	zombie  bool          // to be ended as soon as it begins anything new
	command bool          // it runs one verb
	done    bool
	err     error
}

// killed unwinds the engine's code when its process is ended.
type killed struct{}

// start makes a process, unless its journal is in use.
func (w *World) start(name string, file *journalFile, job func(context.Context, *payouts.Payer) error) *process {
	w.pids++
	p := &process{w: w, name: fmt.Sprintf("%s-%d", name, w.pids), file: file, job: job, at: "start"}
	if err := file.open(p); err != nil {
		w.say("%s does not start: %v", p.name, err)
		return nil
	}
	if w.chance(w.d.skew) {
		p.skew = time.Duration(w.rng.IntN(7200)-3600) * time.Second
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	owner := payouts.Owner{Host: file.host, PID: fmt.Sprint(w.pids), Journal: file.header.ID, Token: fmt.Sprintf("%016x", w.rng.Uint64())}
	cfg, parts := w.cfg, p.parts()
	if m := w.mutation; m != nil {
		if m.config != nil {
			m.config(&cfg)
		}
		if m.owner != nil {
			m.owner(w, &owner)
		}
		if m.wrap != nil {
			m.wrap(p, &parts)
		}
	}
	parts.Owner, p.owner = owner, owner.String()
	payer, err := payouts.New(cfg, parts)
	if err != nil {
		panic(err) // the world's own configuration
	}
	p.next, p.stop = iter.Pull(func(yield func(struct{}) bool) {
		defer func() {
			p.done = true
			if r := recover(); r != nil {
				if _, was := r.(killed); !was {
					panic(r)
				}
			}
		}()
		p.yield = yield
		p.err = job(p.ctx, payer)
	})
	w.procs = append(w.procs, p)
	w.say("%s starts on %s", p.name, file.host)
	return p
}

// pause lets the world go on. It returns when it is this process' turn again.
func (p *process) pause(call string) {
	p.at = call
	if !p.yield(struct{}{}) {
		panic(killed{})
	}
	if p.zombie && call == "Acquire" {
		p.w.say("%s, which was taken for dead, is ended for good", p.name)
		panic(killed{})
	}
}

// run lets it go on to its next call.
func (p *process) run() {
	p.w.running = p
	if _, more := p.next(); !more {
		p.end("ends")
	}
}

// kill is kill -9 between two of its steps.
func (p *process) kill() {
	if p.done {
		return
	}
	p.stop()
	p.end("is killed before " + p.at)
}

func (p *process) end(how string) {
	p.w.say("%s %s (%v)", p.name, how, p.err)
	p.done = true
	p.cancel()
	if p.file.holder == p {
		p.file.holder = nil
	}
	for i, q := range p.w.procs {
		if p == q {
			p.w.procs = append(p.w.procs[:i:i], p.w.procs[i+1:]...)
			return
		}
	}
}

func (p *process) runnable() bool { return !p.stalled && (p.wake <= p.w.now || p.ctx.Err() != nil) }

// Now and Sleep are its clock.
func (p *process) Now() time.Time {
	return time.Unix(genesisTime, 0).Add(p.w.now + p.skew)
}

func (p *process) Sleep(ctx context.Context, d time.Duration) error {
	p.wake = p.w.now + d
	p.pause("Sleep")
	return ctx.Err()
}

// The process' log: people read what is an error, the trace shows the rest.

func (p *process) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelError || p.w.trace != nil && level >= slog.LevelInfo
}

func (p *process) Handle(_ context.Context, r slog.Record) error {
	var text strings.Builder
	text.WriteString(r.Message)
	r.Attrs(func(a slog.Attr) bool {
		fmt.Fprintf(&text, " %s=%v", a.Key, a.Value)
		return true
	})
	if r.Level >= slog.LevelError {
		p.w.mail = append(p.w.mail, text.String())
	}
	p.w.say("%s says: %s", p.name, &text)
	return nil
}

func (p *process) WithAttrs([]slog.Attr) slog.Handler { return p }
func (p *process) WithGroup(string) slog.Handler      { return p }
