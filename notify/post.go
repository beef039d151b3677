package notify

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	telegramAPI = "https://api.telegram.org"
	replyMost   = 64 << 10 // bytes of a reply that are read
	whyMost     = 200      // characters of it that are shown
)

// transport keeps no connection, for messages are rare, and uses no proxy. Its
// RoundTrip is called as it is, so that nothing follows a redirect.
var transport = &http.Transport{
	DialContext:            (&net.Dialer{}).DialContext,
	TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
	DisableKeepAlives:      true,
	MaxResponseHeaderBytes: replyMost,
}

// poster speaks to one hook.
type poster struct {
	kind, url, bearer, chat string
	timeout                 time.Duration
	now                     func() time.Time
	secrets                 []string // that no error may show
}

func newPoster(h HookConfig, token string, timeout time.Duration, now func() time.Time) *poster {
	p := &poster{kind: h.Type, url: h.URL, chat: h.Chat, timeout: timeout, now: now}
	switch h.Type {
	case TypeTelegram:
		p.url = strings.TrimRight(cmp.Or(h.URL, telegramAPI), "/") + "/bot" + url.PathEscape(token) + "/sendMessage"
	case TypeJSON:
		p.bearer = token
	}
	p.secrets = []string{p.url, token, url.PathEscape(token), url.QueryEscape(token)}
	if u, err := url.Parse(p.url); err == nil {
		p.secrets = append(p.secrets, u.RequestURI(), u.EscapedPath(), u.Path, u.RawQuery)
	}
	return p
}

// postError is a message that is not known to have been delivered.
type postError struct {
	status int           // of the reply; 0: there was none
	after  time.Duration // that the hook asks to wait; 0: it does not
	why    string        // without secrets
}

func (e *postError) Error() string {
	if e.status == 0 {
		return "no answer: " + e.why
	}
	text := fmt.Sprintf("status %d %s", e.status, http.StatusText(e.status))
	if e.why != "" {
		text += ": " + e.why
	}
	return text
}

// refused says that a repetition is not going to change the answer.
func (e *postError) refused() bool {
	return e.status != 0 && e.status < 500 && e.status != http.StatusTooManyRequests && e.status != http.StatusRequestTimeout
}

// post sends one event. After an error, always a *postError, it may have been
// delivered or not.
func (p *poster) post(ctx context.Context, e *Event) error {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	body, err := json.Marshal(p.body(e))
	if err != nil {
		return &postError{why: p.hide(err.Error())}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(body))
	if err != nil {
		return &postError{why: p.hide(err.Error())}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "open-ethereum-pool")
	if p.bearer != "" {
		req.Header.Set("Authorization", "Bearer "+p.bearer)
	}
	res, err := transport.RoundTrip(req)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return &postError{why: fmt.Sprintf("nothing within %s", p.timeout)}
	case err != nil:
		return &postError{why: p.hide(err.Error())}
	}
	defer res.Body.Close()
	if res.StatusCode >= 200 && res.StatusCode < 300 {
		return nil
	}
	return p.failed(res)
}

// body is what the hook is sent.
func (p *poster) body(e *Event) any {
	switch p.kind {
	case TypeTelegram:
		return struct {
			Chat string `json:"chat_id"`
			Text string `json:"text"`
		}{p.chat, e.Text}
	case TypeDiscord:
		var d struct {
			Content  string `json:"content"`
			Mentions struct {
				Parse []string `json:"parse"` // nobody is pinged, whatever the text says
			} `json:"allowed_mentions"`
		}
		d.Content, d.Mentions.Parse = e.Text, []string{}
		return d
	}
	return e
}

// failed reads what a reply says about when to come back and what is wrong.
func (p *poster) failed(res *http.Response) error {
	e := &postError{status: res.StatusCode, after: p.retryAfter(res.Header.Get("Retry-After"))}
	var says struct {
		RetryAfter float64 `json:"retry_after"` // discord, seconds
		Parameters struct {
			RetryAfter float64 `json:"retry_after"` // telegram, seconds
		} `json:"parameters"`
		Description string `json:"description"` // telegram
		Message     string `json:"message"`     // discord
	}
	text, err := io.ReadAll(io.LimitReader(res.Body, replyMost))
	if err != nil || json.Unmarshal(text, &says) != nil {
		return e // another kind of text; the status says enough
	}
	e.after = max(e.after, seconds(says.RetryAfter), seconds(says.Parameters.RetryAfter))
	e.why = p.hide(cmp.Or(says.Description, says.Message))
	return e
}

// retryAfter reads the header: seconds, or a date.
func (p *poster) retryAfter(text string) time.Duration {
	if n, err := strconv.ParseUint(text, 10, 32); err == nil {
		return seconds(float64(n))
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(0, at.Sub(p.now())), longest)
	}
	return 0
}

// seconds is at most the longest wait, so that it cannot overflow.
func seconds(s float64) time.Duration {
	return time.Duration(min(max(s, 0), longest.Seconds()) * float64(time.Second))
}

// hide takes what may be a secret out of somebody else's text, and makes it one
// short line.
func (p *poster) hide(text string) string {
	for _, s := range p.secrets {
		if len(s) > 1 { // "/" is none
			text = strings.ReplaceAll(text, s, "…")
		}
	}
	return clean(text, whyMost)
}
