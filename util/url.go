package util

import (
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// URLs is one address of a node or several, the first preferred. A
// configuration writes one string or a list of strings.
type URLs []string

// CheckURL says whether the text is an http or https URL with a host. The error
// never repeats a user name or password of the URL.
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
	}
	return nil
}

// CheckHostPort says whether the text is HOST:PORT with a port from 0 (any free
// one) to 65535. The host may be empty, for every interface.
func CheckHostPort(s string) error {
	const want = `want HOST:PORT such as "127.0.0.1:8080"`
	_, port, err := net.SplitHostPort(s)
	if s == "" {
		return errors.New("is not set, " + want)
	}
	if _, perr := strconv.ParseUint(port, 10, 16); err != nil || perr != nil {
		return errors.New("is " + quoteOpen(s) + ", " + want)
	}
	return nil
}

// quoteOpen quotes text that may hold credentials before an @: only what
// follows is shown.
func quoteOpen(s string) string {
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		s = "…" + s[i:]
	}
	return strconv.Quote(s)
}
