package e2e

import (
	"flag"
	"fmt"
	"hash/fnv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/open-ethereum-pool/open-ethereum-pool/build/e2e/fault"
	"github.com/open-ethereum-pool/open-ethereum-pool/build/e2e/figure"
)

// A sweep lets the real binary live one life over and over, with something going
// wrong at another message each time, and asks the chain and the books afterwards.
// Message by message means: at each of a life's messages to one side, before its
// delivery and after its effect.

// How much is swept, and where it is written down; build/prove sets the first and
// the last.
var (
	everyPoint = flag.Bool("every", false, "sweep every point; without it some, spread evenly")
	onePoint   = flag.Int("point", 0, "sweep the point of this `number` alone")
	figures    = flag.String("figures", "", "append what was swept to this `file`, a line of JSON each")
)

// play is the life that is swept: from books as they are before anything happened
// until everything that is owed is done.
type play interface {
	begin()           // makes books and chain as they are before a life
	start()           // starts the pool, or starts it again after its end
	tend()            // looks after whatever else lives, time and again
	rest() bool       // whether there is nothing left to do
	verdict() verdict // what chain and books say of the life then
	said() string     // by all its processes
	setting() *stage
}

// verdict is what is wrong with a life.
type verdict struct {
	double, lost int // miners with more, and with less, than they were owed
	wrong        []string
}

func (v *verdict) add(format string, args ...any) {
	v.wrong = append(v.wrong, fmt.Sprintf(format, args...))
}

// stage is a world between whose parts something can be made to go wrong.
type stage struct {
	*world
	sides   map[string]*fault.Proxy
	clocked bool // the pool's process has a clock of its own
	rivaled bool // others want the payments lock as well, and each says who has it
	crowd   bool // they are there from the beginning, and chance says who does what

	// mu is held while something goes wrong, and while the test looks on. What is
	// below is of one life, and guarded by mu.
	mu      sync.Mutex
	point   int           // the message at which something goes wrong; 0: none
	first   time.Duration // how far the clock of the first process is ahead
	release chan struct{} // closed when what hangs may go on
	pool    *process
	clock   *clock
	lives   []*process // all there were
	person  string     // what a person was needed for and did, as the design says

	aiming sync.Mutex
	aim    *aim // guarded by aiming
}

// aim is the one message of a life at which something goes wrong.
type aim struct {
	at     *fault.Proxy
	n      int // of all its messages
	action fault.Action
	hit    chan struct{} // closed when it was that message's turn
	over   chan struct{} // closed when what goes wrong has gone wrong
	name   string        // of the message; to be read after the hit
}

func newStage(w *world) *stage { return &stage{world: w, sides: map[string]*fault.Proxy{}} }

func (s *stage) setting() *stage { return s }
func (s *stage) tend()           {}

// side puts a proxy on the stage. usual is what it does with messages at which
// nothing goes wrong; nil passes them on.
func (s *stage) side(name string, p *fault.Proxy, usual func(fault.Message) fault.Action) {
	s.sides[name] = p
	p.Every(func(m fault.Message) fault.Action {
		then := fault.Pass
		if usual != nil {
			then = usual(m)
		}
		s.aiming.Lock()
		defer s.aiming.Unlock()
		if a := s.aim; a != nil && a.at == p && a.n == m.N {
			s.aim, a.name = nil, m.Name
			close(a.hit)
			return a.action
		}
		return then
	})
}

// run starts the pool's process with a configuration.
func (s *stage) run(config string) *process {
	s.t.Helper()
	cmd := command(config)
	var p *process
	if s.clocked {
		p, s.clock = startClocked(s.t, cmd)
		if len(s.lives) == 0 {
			s.setClock(s.first)
		}
	} else {
		p = start(s.t, cmd)
	}
	s.lives = append(s.lives, p)
	return p
}

// said is all that the processes of this life said.
func (s *stage) said() string {
	var b strings.Builder
	for _, p := range s.lives {
		fmt.Fprintf(&b, "%s\n", p.out)
	}
	return b.String()
}

// mishap is what goes wrong at a message.
type mishap struct {
	name   string
	does   func(s *stage, n int)                  // at the life's n-th message
	passes bool                                   // the message is passed on; else its connection ends
	action func(s *stage, do func()) fault.Action // other than these two
	clock  time.Duration                          // how far the pool's clock is ahead until then
}

// phases are on which sides of a message it can happen.
func (m mishap) phases() []fault.Phase {
	if m.passes || m.action != nil {
		return []fault.Phase{fault.BeforeDelivery}
	}
	return []fault.Phase{fault.BeforeDelivery, fault.AfterEffect}
}

// at is the mishap at the n-th message of a life; over is closed when it happened.
func (m mishap) at(s *stage, n int, phase fault.Phase, over chan struct{}) fault.Action {
	do := func() {
		defer close(over)
		s.mu.Lock()
		defer s.mu.Unlock()
		if m.does != nil {
			m.does(s, n)
		}
	}
	switch {
	case m.action != nil:
		return m.action(s, do)
	case m.passes:
		return fault.Pass.Do(do)
	case phase == fault.BeforeDelivery:
		return fault.Drop.Do(do)
	default:
		return fault.LoseReply.Do(do)
	}
}

// trouble is what goes wrong on one side.
type trouble struct {
	side    string
	mishaps []mishap
}

// few is how many points a sweep tries when it does not try all.
const few = 2

// sweep lets the play's life go wrong in every way.
func sweep(t *testing.T, component string, p play, troubles ...trouble) {
	s := p.setting()
	s.under(t)
	calm := &sweeping{play: p, stage: s, t: t, Sweep: figure.Sweep{Person: map[string]int{}}}
	before := map[string]int{}
	calm.begins(0)
	for side, proxy := range s.sides {
		before[side] = proxy.Count()
	}
	if calm.live(nil); t.Failed() {
		return
	}
	messages := map[string]int{}
	for side, proxy := range s.sides {
		messages[side] = proxy.Count() - before[side]
	}
	for _, on := range troubles {
		if messages[on.side] == 0 {
			t.Errorf("an undisturbed life has no message to the %s", on.side)
		}
		t.Run(on.side, func(t *testing.T) {
			for _, m := range on.mishaps {
				for _, phase := range m.phases() {
					name := m.name
					if len(m.phases()) > 1 {
						name += " " + phase.String()
					}
					t.Run(name, func(t *testing.T) {
						s.under(t)
						w := &sweeping{play: p, stage: s, t: t, mishap: m, phase: phase,
							Sweep: figure.Sweep{Component: component, Side: on.side, Fault: m.name, Person: map[string]int{}}}
						if len(m.phases()) > 1 {
							w.Phase = phase.String()
						}
						w.all(messages[on.side])
					})
				}
			}
		})
	}
	s.under(t)
}

// sweeping is one mishap at one message after the other of one side.
type sweeping struct {
	play
	*stage
	t      *testing.T
	mishap mishap
	phase  fault.Phase
	figure.Sweep
}

// crowded is how far apart points are in a crowd, where chance moves them anyway.
const crowded = 3

// all tries every point, or some of as many as an undisturbed life has.
func (w *sweeping) all(messages int) {
	first, step := 1, 1
	switch {
	case !*everyPoint:
		step = max(1, messages/few)
		h := fnv.New32a()
		_, _ = h.Write([]byte(w.t.Name()))
		first += int(h.Sum32() % uint32(step))
	case w.crowd:
		step = crowded
	}
	begun := time.Now()
	if *onePoint > 0 {
		first, messages = *onePoint, *onePoint
	}
	for n := first; n <= messages || *everyPoint && !w.crowd && *onePoint == 0; n += step {
		// In a crowd, who does what is chance: the others may have done it all.
		if hit := w.try(n); !hit && !w.crowd || w.t.Failed() {
			break
		}
	}
	w.Test, w.Seconds = w.t.Name(), time.Since(begun).Seconds()
	w.t.Logf("%d points, %d paid twice, %d not paid, a person needed: %v; %.2f s a point",
		w.Points, w.Double, w.Lost, w.Person, w.Seconds/float64(max(w.Points, 1)))
	if *figures != "" {
		if err := figure.Append(*figures, w.Sweep); err != nil {
			w.t.Error(err)
		}
	}
	if w.Points == 0 && !w.crowd {
		w.t.Error("nothing was tried")
	}
}

// try lets one life go wrong at its n-th message. It is false if there is none.
func (w *sweeping) try(n int) (hit bool) {
	w.begins(n)
	proxy := w.sides[w.Side]
	a := &aim{at: proxy, n: proxy.Count() + n, hit: make(chan struct{}), over: make(chan struct{})}
	a.action = w.mishap.at(w.stage, n, w.phase, a.over)
	w.take(a)
	v := w.live(a)
	if !wasHit(a) {
		return false
	}
	w.Points++
	w.Double += v.double
	w.Lost += v.lost
	for _, what := range v.wrong {
		name := strings.NewReplacer("/", "$/^", "(", `\(`, ")", `\)`).Replace(w.t.Name())
		what = fmt.Sprintf("at message %d, %s: %s\n    go test ./build/e2e -run '^%s$' -point %d", n, a.name, what, name, n)
		w.Wrong = append(w.Wrong, what)
		w.t.Error(what)
	}
	if len(v.wrong) > 0 || *onePoint > 0 {
		w.t.Logf("the pool said:\n%s", w.play.said())
	}
	return true
}

// begins makes everything as it is before a life that goes wrong at its n-th message.
func (w *sweeping) begins(n int) {
	w.point, w.first, w.release, w.lives, w.person = n, w.mishap.clock, make(chan struct{}), nil, ""
	w.begin()
}

// live is one life to its end.
func (w *sweeping) live(a *aim) verdict {
	w.mu.Lock()
	w.start()
	w.mu.Unlock()
	rests, early := w.wait(a)
	if w.take(nil); rests && wasHit(a) {
		<-a.over
		rests, _ = w.wait(a) // it may have come at the last moment
	}
	_ = w.pool.cmd.Process.Signal(syscall.SIGCONT) // it may be stopped
	w.pool.terminate(w.t)
	v := w.verdict()
	if !rests {
		v.lost++
		v.add("it is not at rest after %s", patience)
	}
	if early != "" {
		v.add("the pool ended by itself: %s", early)
	}
	if w.person != "" {
		w.Person[w.person]++
	} else if why := w.needsPerson(); why != "" && (!rests || !w.rivaled) {
		w.Person["not by design"]++
		v.add("a person is needed: %s", why)
	}
	if a == nil && len(v.wrong) > 0 {
		w.t.Errorf("undisturbed: %s\n%s", strings.Join(v.wrong, "\n"), w.play.said())
	}
	return v
}

// take aims at a message, or at none any more.
func (s *stage) take(a *aim) {
	s.aiming.Lock()
	defer s.aiming.Unlock()
	s.aim = a
}

// wait returns when there is nothing left to do. A pool that ends is started
// again; early is what one said that ended before anything had gone wrong.
func (w *sweeping) wait(a *aim) (rests bool, early string) {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		w.mu.Lock()
		rests = w.rest()
		if !rests && w.pool.ended() {
			if !wasHit(a) && !w.crowd {
				early = w.pool.out.String()
			}
			w.start()
		}
		w.mu.Unlock()
		if rests || early != "" {
			return rests, early
		}
		w.play.tend()
	}
	return false, ""
}

func wasHit(a *aim) bool {
	if a == nil {
		return false
	}
	select {
	case <-a.hit:
		return true
	default:
		return false
	}
}

// needsPerson is what the pool asks a person for in this life.
func (w *sweeping) needsPerson() string {
	for line := range strings.Lines(w.play.said()) {
		if strings.Contains(line, "RESOLVE_PAYOUT=1") || strings.Contains(line, "until you decide") {
			return strings.TrimSpace(line)
		}
	}
	return ""
}
