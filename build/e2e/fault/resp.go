package fault

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
)

// maxBulk is what Redis itself takes for one string (proto-max-bulk-len).
const maxBulk = 512 << 20

var errProtocol = errors.New("not the Redis protocol")

// command is what a client sent, as it came and taken apart.
type command struct {
	raw  []byte
	args []string
}

// readCommand reads one command, an array of strings or a line typed by hand.
// The empty ones, to which Redis answers nothing, have no args.
func readCommand(r *bufio.Reader) (command, error) {
	var raw bytes.Buffer
	line, err := readLine(r, &raw)
	if err != nil {
		return command{}, err
	}
	if !strings.HasPrefix(line, "*") {
		return command{raw.Bytes(), strings.Fields(line)}, nil
	}
	n, err := strconv.Atoi(line[1:])
	if err != nil || n > 1<<20 {
		return command{}, fmt.Errorf("read command of %q parts: %w", line[1:], errProtocol)
	}
	var args []string
	for range n {
		line, err := readLine(r, &raw)
		if err != nil {
			return command{}, eofInside(err)
		}
		size, err := strconv.Atoi(strings.TrimPrefix(line, "$"))
		if err != nil || !strings.HasPrefix(line, "$") || size < 0 {
			return command{}, fmt.Errorf("read command with the part %q: %w", line, errProtocol)
		}
		start := raw.Len()
		if err := readBulk(r, &raw, size); err != nil {
			return command{}, eofInside(err)
		}
		args = append(args, string(raw.Bytes()[start:start+size]))
	}
	return command{raw.Bytes(), args}, nil
}

// readReply reads one whole reply of RESP2 or RESP3, as it came. Its first
// byte is its type; '>' is a message that answers no command.
func readReply(r *bufio.Reader) ([]byte, error) {
	var raw bytes.Buffer
	// Aggregates hold further values, so the values still to come are counted.
	for open := 1; open > 0; open-- {
		line, err := readLine(r, &raw)
		if err != nil {
			if raw.Len() > 0 {
				err = eofInside(err)
			}
			return nil, err
		}
		if line == "" {
			return nil, fmt.Errorf("read empty reply: %w", errProtocol)
		}
		if strings.IndexByte("+-:_,#(", line[0]) >= 0 {
			continue
		}
		n, err := strconv.Atoi(line[1:])
		if err != nil {
			return nil, fmt.Errorf("read reply of length %q: %w", line[1:], errProtocol)
		}
		n = max(n, 0)
		switch line[0] {
		case '$', '!', '=':
			if line[1] != '-' { // $-1 is nil and has no body
				if err := readBulk(r, &raw, n); err != nil {
					return nil, eofInside(err)
				}
			}
		case '*', '~', '>':
			open += n
		case '%':
			open += 2 * n
		case '|': // attributes stand before the value they belong to
			open += 2*n + 1
		default:
			return nil, fmt.Errorf("read reply of type %q: %w", line[0], errProtocol)
		}
	}
	return raw.Bytes(), nil
}

// readLine appends a line to raw and returns it without its end.
func readLine(r *bufio.Reader, raw *bytes.Buffer) (string, error) {
	line, err := r.ReadBytes('\n')
	if err != nil {
		if len(line) > 0 {
			err = eofInside(err)
		}
		return "", err
	}
	raw.Write(line)
	return strings.TrimRight(string(line), "\r\n"), nil
}

// readBulk appends size bytes and their line end to raw.
func readBulk(r *bufio.Reader, raw *bytes.Buffer, size int) error {
	if size > maxBulk {
		return fmt.Errorf("read string of %d bytes: %w", size, errProtocol)
	}
	_, err := io.CopyN(raw, r, int64(size)+2)
	return err
}

func eofInside(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// A container's second word belongs to its name.
var containers = map[string]bool{
	"ACL": true, "CLIENT": true, "CLUSTER": true, "COMMAND": true, "CONFIG": true, "DEBUG": true,
	"FUNCTION": true, "LATENCY": true, "MEMORY": true, "MODULE": true, "OBJECT": true, "PUBSUB": true,
	"SCRIPT": true, "SENTINEL": true, "SLOWLOG": true, "XGROUP": true, "XINFO": true,
}

// Their replies come as messages, which answer no command in RESP3.
var streams = map[string]bool{
	"SUBSCRIBE": true, "PSUBSCRIBE": true, "SSUBSCRIBE": true,
	"UNSUBSCRIBE": true, "PUNSUBSCRIBE": true, "SUNSUBSCRIBE": true, "MONITOR": true,
}

// namer names commands. It remembers scripts, which are called by their hash
// once the server has them.
type namer struct {
	mu      sync.Mutex
	scripts map[string]string // first-line comments by SHA-1, in hex
}

func (s *namer) name(args []string) string {
	verb := strings.ToUpper(args[0])
	arg := func(i int) string {
		if i < len(args) {
			return args[i]
		}
		return ""
	}
	switch verb {
	case "AUTH": // a password names nothing
		return verb
	case "EVAL", "EVAL_RO":
		if title := s.learn(arg(1)); title != "" {
			return verb + " " + title
		}
		return join(verb, arg(3))
	case "EVALSHA", "EVALSHA_RO":
		if title := s.recall(arg(1)); title != "" {
			return verb + " " + title
		}
		return join(verb, arg(3))
	}
	if containers[verb] {
		sub := strings.ToUpper(arg(1))
		if verb == "SCRIPT" && sub == "LOAD" {
			return join("SCRIPT LOAD", s.learn(arg(2)))
		}
		return join(verb, sub)
	}
	return join(verb, arg(1))
}

// learn remembers a script and returns the comment that is its first line.
func (s *namer) learn(script string) string {
	line, _, _ := strings.Cut(script, "\n")
	title, isComment := strings.CutPrefix(strings.TrimSpace(line), "--")
	if !isComment {
		return ""
	}
	title = strings.TrimSpace(title)
	sum := sha1.Sum([]byte(script))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scripts[hex.EncodeToString(sum[:])] = title
	return title
}

func (s *namer) recall(sha string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.scripts[strings.ToLower(sha)]
}

func join(name, rest string) string {
	return strings.TrimSpace(name + " " + rest)
}
