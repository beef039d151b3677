package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

var (
	errBanned  = errors.New("this address is banned for a while")
	errTooMany = errors.New("too many connections from this address")
)

// policy keeps out who sends mostly rubbish or too much of anything. What counts
// is a ratio or a flood, never a single mistake.
type policy struct {
	cfg     PolicyConfig
	ledger  Ledger
	log     *slog.Logger
	now     func() time.Time
	started time.Time
	bans    chan string   // addresses for ipset or fail2ban
	limit   time.Duration // of a command

	mu        sync.Mutex         // guards all below
	records   map[string]*record // by customer
	blacklist map[string]bool    // logins in lower case, and addresses
	whitelist map[string]bool
}

// record is what is known of one address, or of one network of IPv6.
type record struct {
	seen           time.Time
	bannedUntil    time.Time
	connections    int32
	limit          int32 // of connections
	valid, invalid int32 // shares since the last look
	malformed      int32 // lines that are no requests, since malformedFrom
	malformedFrom  time.Time
}

func newPolicy(cfg PolicyConfig, ledger Ledger, log *slog.Logger) *policy {
	return &policy{cfg: cfg, ledger: ledger, log: log, now: time.Now, started: time.Now(), bans: make(chan string, 1024), limit: commandTime,
		records: map[string]*record{}, blacklist: map[string]bool{}, whitelist: map[string]bool{}}
}

// of returns the address's record. p.mu must be held.
func (p *policy) of(ip string) *record {
	key := customer(ip)
	r := p.records[key]
	if r == nil {
		r = &record{limit: p.cfg.Limits.Limit}
		p.records[key] = r
	}
	r.seen = p.now()
	return r
}

// customer is whose address it is: of IPv6 the 64 bits that one is given, who may
// choose among 2^64 addresses.
func customer(ip string) string {
	addr, err := netip.ParseAddr(ip)
	if err != nil || addr.Unmap().Is4() {
		return ip
	}
	return netip.PrefixFrom(addr, 64).Masked().String()
}

// admit lets a connection in, to be paired with leave, or says why not.
func (p *policy) admit(ip string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.of(ip)
	switch {
	case p.whitelist[ip]:
	case p.now().Before(r.bannedUntil), p.blacklist[ip]:
		return errBanned
	case p.cfg.Limits.Enabled && p.now().Sub(p.started) > p.cfg.Limits.Grace.Std() && r.connections >= r.limit:
		return errTooMany
	}
	r.connections++
	return nil
}

func (p *policy) leave(ip string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.of(ip)
	r.connections--
	if *r == (record{seen: r.seen, limit: p.cfg.Limits.Limit}) { // there is nothing to remember
		delete(p.records, customer(ip))
	}
}

// welcome says whether the login may mine.
func (p *policy) welcome(login string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.blacklist[strings.ToLower(login)]
}

// share notes a share and says whether its sender may stay.
func (p *policy) share(ip string, ok bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.of(ip)
	if ok {
		r.valid++
		if p.cfg.Limits.Enabled {
			r.limit = min(r.limit, math.MaxInt32-p.cfg.Limits.LimitJump) + p.cfg.Limits.LimitJump
		}
	} else {
		r.invalid++
	}
	b := p.cfg.Banning
	if !b.Enabled || r.valid+r.invalid < b.CheckThreshold {
		return true
	}
	bad := float64(r.invalid) / float64(r.valid+r.invalid)
	r.valid, r.invalid = 0, 0
	if bad < fraction(b.InvalidPercent) {
		return true
	}
	return !p.ban(ip, r, fmt.Sprintf("%.0f %% of its shares are invalid", 100*bad))
}

// floodTime is within what time malformed lines make a flood.
const floodTime = time.Minute

// malformed notes a line that is no request and says whether its sender may stay.
func (p *policy) malformed(ip string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.of(ip)
	if now := p.now(); now.Sub(r.malformedFrom) > floodTime {
		r.malformed, r.malformedFrom = 0, now
	}
	r.malformed++
	if !p.cfg.Banning.Enabled || r.malformed < p.cfg.Banning.MalformedLimit {
		return true
	}
	r.malformed = 0
	return !p.ban(ip, r, "it sends lines that are no requests")
}

// ban keeps the address out for a while, unless the operator trusts it. p.mu must
// be held.
func (p *policy) ban(ip string, r *record, why string) bool {
	if p.whitelist[ip] {
		return false
	}
	r.bannedUntil = p.now().Add(time.Duration(p.cfg.Banning.Timeout) * time.Second)
	p.log.Warn("address banned", "ip", ip, "why", why, "until", r.bannedUntil.Format(time.TimeOnly))
	if p.cfg.Banning.command(ip) != nil {
		select {
		case p.bans <- ip:
		default:
			p.log.Warn("too many bans at once; this one is kept inside the pool only", "ip", ip)
		}
	}
	return true
}

// run reads the operator's lists, carries out bans and forgets old records,
// until ctx ends.
func (p *policy) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for range p.cfg.Workers {
		wg.Go(func() { p.carryOut(ctx) })
	}
	refresh := time.NewTicker(p.cfg.RefreshInterval.Std())
	defer refresh.Stop()
	for {
		if err := p.refresh(ctx); err != nil && ctx.Err() == nil {
			p.log.Warn("black and white list are as before", "err", err)
		}
		p.forget()
		select {
		case <-ctx.Done():
			return
		case <-refresh.C:
		}
	}
}

// refresh reads the lists. When one cannot be read, both stay as they are.
func (p *policy) refresh(ctx context.Context) error {
	black, white, err := p.ledger.Lists(ctx)
	if err != nil {
		return err
	}
	if path := p.cfg.BlacklistFile; path != "" {
		data, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("proxy.policy.blacklist_file: %w", err)
		}
		var more []string
		if err := json.Unmarshal(data, &more); err != nil {
			return fmt.Errorf("proxy.policy.blacklist_file: %s is no JSON list of texts", path)
		}
		black = append(black, more...)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.blacklist, p.whitelist = setOf(black), setOf(white)
	return nil
}

func setOf(list []string) map[string]bool {
	set := make(map[string]bool, len(list))
	for _, s := range list {
		set[strings.ToLower(s)] = true
	}
	return set
}

// forget drops the records of those who were not seen for a while.
func (p *policy) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.now().Add(-p.cfg.ResetInterval.Std())
	for ip, r := range p.records {
		if r.connections <= 0 && r.seen.Before(old) && r.bannedUntil.Before(p.now()) {
			delete(p.records, ip)
		}
	}
}

// commandTime is how long the firewall may take to be told of one ban.
const commandTime = 10 * time.Second

// carryOut tells the firewall whom to keep out.
func (p *policy) carryOut(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case ip := <-p.bans:
			if net.ParseIP(ip) == nil {
				continue // it becomes a word of a command
			}
			if out, err := p.execute(ctx, p.cfg.Banning.command(ip)); err != nil && ctx.Err() == nil {
				p.log.Error("the firewall does not know of a ban; it is kept inside the pool", "ip", ip, "err", err, "output", out)
			}
		}
	}
}

// command is what tells the firewall of an address, nil when nobody is to be told.
func (b BanningConfig) command(ip string) []string {
	if words := strings.Fields(b.Fail2banCommand); len(words) > 0 {
		return append(words, ip)
	}
	if b.IPSet == "" {
		return nil
	}
	// -n: nobody is there to be asked for a password.
	return []string{"sudo", "-n", "ipset", "add", b.IPSet, ip, "timeout", strconv.FormatInt(b.Timeout, 10), "-exist"}
}

// execute runs a command, without a shell, and ends it and what it began when it
// takes too long.
func (p *policy) execute(ctx context.Context, words []string) (output string, err error) {
	ctx, cancel := context.WithTimeout(ctx, p.limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second // for the output of who left that group
	out, err := cmd.CombinedOutput()
	return string(out), err
}
