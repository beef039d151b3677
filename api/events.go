package api

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// event is one server-sent event.
type event struct {
	name string
	data []byte // JSON on one line
}

// frame is the event on the wire.
func (e event) frame() []byte {
	return append(append(append(append([]byte("event: "), e.name...), "\ndata: "...), e.data...), "\n\n"...)
}

// hub tells all who listen. A listener that does not keep up is cut off.
type hub struct {
	mu     sync.Mutex // of all below
	list   map[*listener]bool
	closed bool
}

// listener gets the frames of one cycle at a time. The channel is closed when it
// is cut off.
type listener struct{ frames chan []byte }

const (
	listenersMost = 2000
	// listenersMostFrom is how many of them may be at one address.
	listenersMostFrom = 100
	// listenerRoom is how many cycles a listener may lag behind.
	listenerRoom = 4
	heartbeat    = 15 * time.Second
)

func newHub() *hub { return &hub{list: map[*listener]bool{}} }

// join adds a listener; nil when there are too many.
func (h *hub) join() *listener {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || len(h.list) >= listenersMost {
		return nil
	}
	l := &listener{make(chan []byte, listenerRoom)}
	h.list[l] = true
	return l
}

func (h *hub) leave(l *listener) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.drop(l)
}

func (h *hub) drop(l *listener) {
	if h.list[l] {
		delete(h.list, l)
		close(l.frames)
	}
}

func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for l := range h.list {
		h.drop(l)
	}
}

func (h *hub) size() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.list)
}

func (h *hub) publish(events []event) {
	var all bytes.Buffer
	for _, e := range events {
		all.Write(e.frame())
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for l := range h.list {
		select {
		case l.frames <- all.Bytes():
		default:
			h.drop(l)
		}
	}
}

// changes are the events between two snapshots: always stats; session, block and
// payment for what is new or another than before.
func changes(before, after *snapshot) []event {
	var out []event
	add := func(name string, v any) {
		if data, err := json.Marshal(v); err == nil { // all of it was encoded before
			out = append(out, event{name, data})
		}
	}
	if data, err := live(after.pool); err == nil {
		out = append(out, event{"stats", data})
	}
	if before == nil {
		return out
	}
	if !same(before.pool.Payouts, after.pool.Payouts) {
		add("session", after.pool.Payouts)
	}
	type place struct{ kind, state string }
	known := map[int64]map[place]int{} // by time found
	for _, b := range before.blockLists.all() {
		if known[b.Timestamp] == nil {
			known[b.Timestamp] = map[place]int{}
		}
		known[b.Timestamp][place{b.Kind, b.State}]++
	}
	for _, b := range after.blockLists.all() {
		at := place{b.Kind, b.State}
		if known[b.Timestamp][at] > 0 {
			known[b.Timestamp][at]--
			continue
		}
		add("block", b)
	}
	paid := map[string]string{}
	for _, p := range before.paid {
		paid[p.Tx] = p.Status
	}
	for _, p := range after.paid {
		if was, ok := paid[p.Tx]; !ok && p.Timestamp >= before.now-oldNews || ok && was != p.Status {
			add("payment", p)
		}
	}
	return out
}

// oldNews is how late a payment may be seen and still be told, in seconds: one
// that comes into the list because another left it is no news.
const oldNews = 10 * 60

func same(a, b payoutsView) bool {
	x, y := auditView{}, auditView{}
	if a.Audit != nil {
		x = *a.Audit
	}
	if b.Audit != nil {
		y = *b.Audit
	}
	a.Audit, b.Audit = nil, nil
	return a == b && x == y
}

// all are the blocks that events are about: of the matured ones the newest.
func (v blocksView) all() []blockView {
	const newest = 50
	out := append([]blockView{}, v.Candidates...)
	return append(append(out, v.Immature...), v.Matured[:min(newest, len(v.Matured))]...)
}

// events serves /api/events.
func (a *API) events(w http.ResponseWriter, r *http.Request) int {
	asked := r.URL.Query().Get("login")
	login := strings.ToLower(asked)
	if login != "" && !util.IsLogin(login) {
		return fail(w, http.StatusBadRequest, "login is %.60q, want 0x and 40 hex digits", asked)
	}
	s := a.snap.Load()
	if s == nil {
		return unready(w)
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h["Cache-Control"], h["X-Content-Type-Options"] = noStore, notSniffed
	h.Set("X-Accel-Buffering", "no") // nginx would hold events back
	if r.Method == http.MethodHead {
		w.WriteHeader(http.StatusOK)
		return http.StatusOK
	}
	leave, ok := a.streams.enter(r)
	if !ok {
		h.Set("Retry-After", "30")
		return fail(w, http.StatusTooManyRequests, "%d listen already from your address; try again later", listenersMostFrom)
	}
	defer leave()
	l := a.hub.join()
	if l == nil {
		h.Set("Retry-After", "30")
		return fail(w, http.StatusServiceUnavailable, "too many listen already; try again later")
	}
	defer a.hub.leave(l)
	w.WriteHeader(http.StatusOK)
	control := http.NewResponseController(w)
	send := func(frames []byte) bool {
		_ = control.SetWriteDeadline(time.Now().Add(writeWait)) // where it cannot be set, there is none
		if _, err := w.Write(frames); err != nil {
			return false
		}
		return control.Flush() == nil
	}
	hello := []byte("retry: 5000\n\n")
	for _, e := range greetings(s) {
		hello = append(hello, e.frame()...)
	}
	var said *answer // of the account
	if !send(append(hello, a.accountFrame(r, login, &said)...)) {
		return http.StatusOK
	}
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		var frames []byte
		select {
		case <-r.Context().Done():
			return http.StatusOK
		case <-beat.C:
			frames = []byte(": still here\n\n")
		case f, ok := <-l.frames:
			if !ok {
				return http.StatusOK
			}
			frames = append(bytes.Clone(f), a.accountFrame(r, login, &said)...)
		}
		if !send(frames) {
			return http.StatusOK
		}
	}
}

// greetings are what a new listener begins with.
func greetings(s *snapshot) []event {
	out := changes(nil, s)
	if data, err := json.Marshal(s.pool.Payouts); err == nil {
		out = append(out, event{"session", data})
	}
	return out
}

// accountFrame is the event "account"; nothing when it is what was said before, or
// cannot be made right now.
func (a *API) accountFrame(r *http.Request, login string, said **answer) []byte {
	if login == "" {
		return nil
	}
	answer, err := a.cache.get(r.Context(), "a"+login, accountCycles, a.accountOf(login))
	if err != nil || answer == *said {
		return nil
	}
	*said = answer
	body, err := answer.body()
	if err != nil || answer.status != http.StatusOK {
		return nil
	}
	return event{"account", body}.frame()
}
