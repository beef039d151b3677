package util

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// URLs is one address of a node or several, the first preferred. A
// configuration writes one string or a list of strings.
type URLs []string

// CheckURL says whether the text is an http or https URL with a host. The error
// shows its scheme and host only: the rest may hold a key.
func CheckURL(raw string) error {
	const want = `want a URL such as "http://127.0.0.1:8545"`
	u, err := url.Parse(raw)
	switch {
	case raw == "":
		return errors.New("is empty, " + want)
	case err != nil:
		return errors.New("is not a URL, " + want)
	case u.Scheme != "http" && u.Scheme != "https":
		return errors.New("is " + quoteOpen(raw) + ", neither http nor https; " + want)
	case u.Hostname() == "":
		return errors.New("is " + quoteOpen(raw) + ", without a host, " + want)
	case u.Port() != "" && !isPort(u.Port(), 1):
		return errors.New("is " + quoteOpen(raw) + ", whose port is none from 1 to 65535, " + want)
	}
	return nil
}

// isPort says whether the text is a port from least to 65535.
func isPort(text string, least uint64) bool {
	n, err := strconv.ParseUint(text, 10, 16)
	return err == nil && n >= least
}

// CheckHostPort says whether the text is HOST:PORT to listen at, with a port
// from 0 (any free one) to 65535. The host may be empty, for every interface.
func CheckHostPort(s string) error { return checkHostPort(s, 0, "127.0.0.1:8080") }

// CheckServer says whether the text is HOST:PORT of a server to connect to. The
// host may be empty, for this machine.
func CheckServer(s string) error { return checkHostPort(s, 1, "127.0.0.1:6379") }

func checkHostPort(s string, least uint64, example string) error {
	want := fmt.Sprintf("want HOST:PORT such as %q", example)
	_, port, err := net.SplitHostPort(s)
	switch {
	case s == "":
		return errors.New("is not set, " + want)
	case err != nil:
		return errors.New("is " + quoteOpen(s) + ", " + want)
	case !isPort(port, least):
		return fmt.Errorf("is %s, want a port from %d to 65535", quoteOpen(s), least)
	}
	return nil
}

// quoteOpen quotes what of an address is no secret: scheme and host. User name,
// password, path and query may hold one.
func quoteOpen(s string) string {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		scheme, rest = "", s
	}
	at, slash := strings.LastIndexByte(rest, '@'), strings.IndexAny(rest, "/?#")
	switch {
	case at >= 0 && slash >= 0 && slash < at: // a password may hold a slash, and a path an @
		return strconv.Quote("…")
	case at >= 0:
		scheme, rest, slash = "…@", rest[at+1:], slash-at-1
	case ok:
		scheme += "://"
	}
	if slash >= 0 {
		rest = rest[:slash] + "/…"
	}
	return strconv.Quote(scheme + rest)
}
