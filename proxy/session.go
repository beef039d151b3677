package proxy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

const (
	// lineMost is the longest line a miner may send; the longest that any dialect
	// needs is a third of it.
	lineMost = 1024
	// lineFirst is the room that a connection begins with. Most of them are idle.
	lineFirst = 256
	// sendQueue is the same for TLS, in messages.
	sendQueue = 64
	// sendBuffer is the kernel's room for what a miner has not read: about a
	// hundred jobs, after which he is given up.
	sendBuffer = 16 << 10
	// replyTime is how long an answer may wait for a miner who does not read.
	replyTime = 10 * time.Second
	// workersMost bounds how many workers one connection may authorize.
	workersMost = 64
)

var (
	errLongLine = errors.New("a line is too long")
	errSlow     = errors.New("the miner does not read")
	errRubbish  = errors.New("too many lines that are no requests")
	errCheater  = errors.New("too many invalid shares")
	errTLS      = errors.New("TLS on the port without TLS")
	errBye      = errors.New("the miner said good-bye")
)

// miner is whom shares are counted for.
type miner struct{ Login, Worker string }

// session is one miner's connection. One goroutine reads it; anybody may write.
type session struct {
	proxy *Proxy
	port  *port
	conn  net.Conn
	raw   syscall.RawConn // of TCP without TLS
	out   chan []byte     // of TLS, for the goroutine that writes
	ends  sync.WaitGroup  // of that goroutine
	ip    string
	place int // among the sessions, which guard it

	missed atomic.Bool   // new work came while mu was held
	heard  atomic.Uint64 // the newest job that he has; set while mu is held

	mu         sync.Mutex // guards the writing, and all below
	dialect    dialect    // nil until the first request
	ready      bool       // wants to be told of new work
	difficulty int64
	earlier    []asked  // difficulties that shares may still come for, oldest first
	told       struct { // by mining.set
		epoch      uint64 // plus one
		difficulty int64
	}

	// Owned by the reader.
	miners     []miner // authorized, the first is the default
	extranonce *[extranonceBytes]byte
	vardiff    vardiff
	buf        []byte // what was read; from begin to end it is not handled yet
	begin, end int
}

// asked is the difficulty of jobs before the one of that number.
type asked struct {
	difficulty int64
	before     uint64
}

// request is one line of any dialect.
type request struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Worker label           `json:"worker"`
}

// label is a name of the miner's choice. One that is no text does not make the
// whole request malformed.
type label string

func (l *label) UnmarshalJSON(text []byte) error {
	if text[0] == '"' || text[0] == 'n' { // a text, or null
		return json.Unmarshal(text, (*string)(l))
	}
	*l = label(text) // a number may be a name
	return nil
}

// args are the parameters when they are a list of texts.
func (r *request) args() []string {
	var list []json.RawMessage
	if json.Unmarshal(r.Params, &list) != nil {
		return nil
	}
	texts := make([]string, len(list))
	for i, raw := range list {
		if json.Unmarshal(raw, &texts[i]) != nil {
			texts[i] = ""
		}
	}
	return texts
}

// serve reads lines until the connection ends, and says why it did. Who says
// nothing is there as long as he takes new work: a slow miner seldom has a share.
func (s *session) serve(ctx context.Context) error {
	for {
		before := s.heard.Load()
		// A line has to be whole by then: one byte now and then is no sign of life.
		if err := s.conn.SetReadDeadline(time.Now().Add(s.proxy.cfg.Stratum.Timeout.Std())); err != nil {
			return err
		}
		line, err := s.line()
		if errors.Is(err, os.ErrDeadlineExceeded) && s.begin == s.end && s.heard.Load() > before {
			continue
		}
		if err != nil {
			return err
		}
		if len(line) == 0 {
			continue
		}
		s.proxy.hands.do(func() { err = s.handle(ctx, line) })
		if err != nil {
			return err
		}
	}
}

// line returns the next line, without its end. It is valid until the next call.
func (s *session) line() ([]byte, error) {
	for {
		if i := bytes.IndexByte(s.buf[s.begin:s.end], '\n'); i >= 0 {
			line := s.buf[s.begin : s.begin+i]
			s.begin += i + 1
			return bytes.TrimSpace(line), nil
		}
		s.end = copy(s.buf, s.buf[s.begin:s.end])
		s.begin = 0
		if s.end >= lineMost {
			return nil, errLongLine
		}
		if s.end == len(s.buf) {
			s.buf = append(s.buf, make([]byte, max(lineFirst, len(s.buf)))...)
		}
		n, err := s.conn.Read(s.buf[s.end:])
		s.end += n
		if s.dialect == nil && s.end >= 2 && s.buf[0] == 0x16 && s.buf[1] == 0x03 {
			return nil, errTLS
		}
		if err != nil && n == 0 {
			return nil, err
		}
	}
}

// handle answers one line. An error ends the connection.
func (s *session) handle(ctx context.Context, line []byte) error {
	var req request
	if err := json.Unmarshal(line, &req); err != nil || req.Method == "" {
		if isAnswer(line) {
			return nil
		}
		stays := s.proxy.policy.malformed(s.ip)
		d := s.dialect
		if d == nil {
			d = ethProxy{}
		}
		if err := s.reply(d.failure(nil, failMalformed)); err != nil {
			return err
		}
		if !stays {
			return errRubbish
		}
		return nil
	}
	d := s.dialect
	if len(s.miners) == 0 {
		d = dialectOf(s.dialect, &req)
		if req.Method != "mining.hello" || req.hello() { // a refused one chooses nothing
			s.mu.Lock()
			s.dialect = d
			s.unlock()
		}
	}
	return d.handle(ctx, s, &req)
}

// isAnswer says whether a line answers us. Nothing that we tell asks for it, and
// EthereumStratum/2.0.0 allows it.
func isAnswer(line []byte) bool {
	var a struct{ Result, Error json.RawMessage }
	return json.Unmarshal(line, &a) == nil && (a.Result != nil || a.Error != nil)
}

// reply writes an answer; the miner's own goroutine may wait for him.
func (s *session) reply(lines ...[]byte) error {
	s.mu.Lock()
	defer s.unlock()
	return s.write(bytes.Join(lines, nil))
}

// unlock lets go of s.mu, and tells the miner of work that came meanwhile.
func (s *session) unlock() {
	s.mu.Unlock()
	if s.missed.Swap(false) {
		s.tell(s.proxy.present())
	}
}

// write waits for a slow reader up to replyTime. s.mu must be held.
func (s *session) write(b []byte) error {
	if s.out != nil {
		select {
		case s.out <- b:
			return nil
		case <-time.After(replyTime):
			return errSlow
		}
	}
	if err := s.conn.SetWriteDeadline(time.Now().Add(replyTime)); err != nil {
		return err
	}
	_, err := s.conn.Write(b)
	// A deadline that stands would also end what push writes after it.
	return first(err, s.conn.SetWriteDeadline(time.Time{}))
}

// push writes news without waiting: a miner whose buffers are full of older news
// is cut off, not waited for.
func (s *session) push(b []byte) error {
	if s.out != nil {
		select {
		case s.out <- b:
			return nil
		default:
			return errSlow
		}
	}
	var n uintptr
	var failed syscall.Errno
	if err := s.raw.Write(func(fd uintptr) bool {
		// Raw, because it never waits: to tell the scheduler that it might costs a
		// broadcast a fifth of its time.
		n, _, failed = syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
		return true
	}); err != nil {
		return err
	}
	switch {
	case failed == syscall.EAGAIN, failed == 0 && n < uintptr(len(b)):
		return errSlow
	case failed != 0:
		return failed
	}
	return nil
}

// writes takes what is written to a TLS connection to the wire, until out is
// closed. Writing there may wait, which no broadcast does.
func (s *session) writes() {
	for b := range s.out {
		err := s.conn.SetWriteDeadline(time.Now().Add(replyTime))
		if err == nil {
			_, err = s.conn.Write(b)
		}
		if err != nil {
			s.conn.Close() // which wakes the reader, who closes out
		}
	}
}

// quiet lets nobody write any more.
func (s *session) quiet() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready = false
	close(s.out)
}

// tell pushes new work to a miner who wants it, and closes the connection of one
// who cannot be told.
//
// It never waits for an answer that its reader does not take: then the one who
// writes that answer tells him afterwards.
func (s *session) tell(w *work) {
	if !s.mu.TryLock() {
		s.missed.Store(true)
		if !s.mu.TryLock() {
			return // whoever holds it now looks at missed when he unlocks
		}
		s.missed.Store(false)
	}
	defer s.unlock()
	if !s.ready || w == nil {
		return
	}
	s.retarget(time.Now(), false, max(w.Number, s.heard.Load()+1))
	s.heard.Store(max(s.heard.Load(), w.Number))
	if err := s.push(s.dialect.job(s, w)); err != nil {
		s.conn.Close() // which wakes the reader
	}
}

// authorize checks [LOGIN.RIG, password] and adds the worker. It returns the
// worker's number, or which failure to answer.
func (s *session) authorize(args []string, worker label) (int, failure) {
	if len(args) == 0 {
		return 0, failParams
	}
	user, _, _ := strings.Cut(strings.TrimSpace(args[0]), "/") // then a mail address, from who mined elsewhere
	login, rig, _ := strings.Cut(user, ".")
	password := ""
	if len(args) > 1 && args[1] != "x" {
		password = args[1]
	}
	if !util.IsLogin(login) {
		return 0, failLogin
	}
	if !s.proxy.policy.welcome(login) {
		return 0, failBlacklisted
	}
	m := miner{Login: strings.ToLower(login), Worker: workerName(rig, string(worker), password)}
	for i, known := range s.miners {
		if known == m {
			return i, failNone
		}
	}
	if len(s.miners) >= workersMost {
		return 0, failWorkers
	}
	s.miners = append(s.miners, m)
	return len(s.miners) - 1, failNone
}

// workerMost is the longest name of a worker.
const workerMost = 32

// workerName is the first of the names that can be one, as it is stored: letters,
// digits, - and _; "0" when there is none.
func workerName(names ...string) string {
	for _, name := range names {
		if name != "" && len(name) <= workerMost && strings.Trim(name, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_") == "" {
			return name
		}
	}
	return "0"
}

// asked is the difficulty that the miner was asked for when he got the job: the
// lowest one where he may have heard of several, because he asked for the job again
// or the node went back to it.
func (s *session) asked(w *work) int64 {
	s.mu.Lock()
	defer s.unlock()
	if w == nil {
		return s.difficulty
	}
	least, from := int64(math.MaxInt64), uint64(0)
	for _, a := range append(s.earlier, asked{s.difficulty, math.MaxUint64}) {
		if from <= w.Number+1 && w.First < a.before {
			least = min(least, a.difficulty)
		}
		from = a.before
	}
	return least
}

// submit judges a share and returns the failure to answer, or none. It ends the
// connection of who sends mostly rubbish.
func (s *session) submit(ctx context.Context, sub submission) (failure, error) {
	sub.IP, sub.Difficulty = s.ip, s.asked(sub.Work)
	v := s.proxy.judge(ctx, sub)
	if v == lowDifficulty || v == valid {
		if !s.proxy.policy.share(s.ip, v == valid) {
			return failOf[v], errCheater
		}
	}
	if v == valid {
		s.moved()
	}
	return failOf[v], nil
}

// moved lets a valid share move the difficulty; the miner hears of it with the
// next job.
func (s *session) moved() {
	s.mu.Lock()
	defer s.unlock()
	next := s.heard.Load() + 1
	if w := s.proxy.board.now.Load(); w != nil {
		next = max(next, w.Number+1)
	}
	if n := len(s.earlier); n == 0 || s.earlier[n-1].before < next { // else he has not heard of the last move yet
		s.retarget(time.Now(), true, next)
	}
}

// retarget moves the difficulty from a job on. s.mu must be held.
func (s *session) retarget(now time.Time, share bool, from uint64) {
	if d, moved := s.vardiff.next(now, share, s.difficulty); moved {
		oldest := s.proxy.board.oldest.Load()
		s.earlier = slices.DeleteFunc(s.earlier, func(a asked) bool { return a.before <= oldest })
		s.earlier = append(s.earlier, asked{s.difficulty, from})
		s.difficulty = d
	}
}
