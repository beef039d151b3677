package fault

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestReadReplyTakesOneValueWhole(t *testing.T) {
	for _, tc := range []struct{ name, reply string }{
		{"status", "+OK\r\n"},
		{"empty status", "+\r\n"},
		{"error", "-ERR no\r\n"},
		{"number", ":-5\r\n"},
		{"string", "$2\r\n\r\n\r\n"},
		{"empty string", "$0\r\n\r\n"},
		{"nil string", "$-1\r\n"},
		{"array", "*2\r\n:1\r\n$1\r\na\r\n"},
		{"empty array", "*0\r\n"},
		{"nil array", "*-1\r\n"},
		{"array in array", "*2\r\n*2\r\n:1\r\n*0\r\n*1\r\n$-1\r\n"},
		{"null", "_\r\n"},
		{"double", ",3.14\r\n"},
		{"boolean", "#t\r\n"},
		{"big number", "(3492890328409238509324850943850943825024385\r\n"},
		{"verbatim string", "=7\r\ntxt:abc\r\n"},
		{"long error", "!6\r\nERR no\r\n"},
		{"map", "%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n:2\r\n"},
		{"set", "~2\r\n:1\r\n:2\r\n"},
		{"push", ">2\r\n+invalidate\r\n*1\r\n+k\r\n"},
		{"value with attributes", "|1\r\n+ttl\r\n:5\r\n*1\r\n:1\r\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := bufio.NewReader(strings.NewReader(tc.reply + "+NEXT\r\n"))
			got, err := readReply(r)
			if err != nil || string(got) != tc.reply {
				t.Errorf("readReply = %q, %v", got, err)
			}
			if got, err := readReply(r); err != nil || string(got) != "+NEXT\r\n" {
				t.Errorf("the next = %q, %v", got, err)
			}
			for cut := 1; cut < len(tc.reply); cut++ {
				_, err := readReply(bufio.NewReader(strings.NewReader(tc.reply[:cut])))
				if !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("readReply(%q) = %v, want %v", tc.reply[:cut], err, io.ErrUnexpectedEOF)
				}
			}
		})
	}
}

func TestReadReplyRefuses(t *testing.T) {
	for _, in := range []string{"\r\n", "?1\r\n", "$x\r\n", "*\r\n", "$536870913\r\n"} {
		if got, err := readReply(bufio.NewReader(strings.NewReader(in))); !errors.Is(err, errProtocol) {
			t.Errorf("readReply(%q) = %q, %v, want %v", in, got, err, errProtocol)
		}
	}
}

func TestCommandsAreNamed(t *testing.T) {
	n := namer{scripts: make(map[string]string)}
	const sha = "8b0c54c1ef4ad1c9a24e4de16b2fcc0b5ce3f1f5"
	for _, tc := range []struct {
		name string
		args []string
		want string
	}{
		{"a command and its key", []string{"hincrby", "eth:finances", "balance", "1"}, "HINCRBY eth:finances"},
		{"a command alone", []string{"MULTI"}, "MULTI"},
		{"a handshake without its password", []string{"HELLO", "3", "AUTH", "default", "secret"}, "HELLO 3"},
		{"no password at all", []string{"AUTH", "secret"}, "AUTH"},
		{"a command of two words", []string{"client", "setinfo", "LIB-NAME", "x"}, "CLIENT SETINFO"},
		{"a script by its first line", []string{"EVAL", "-- open\nreturn 1", "1", "k"}, "EVAL open"},
		{"a script without a title by its key", []string{"EVAL", "return 1", "1", "k"}, "EVAL k"},
		{"a script without title and key", []string{"EVAL", "return 1", "0"}, "EVAL"},
		{"an unknown hash by its key", []string{"EVALSHA", sha, "1", "k"}, "EVALSHA k"},
		{"a script that is loaded", []string{"SCRIPT", "LOAD", "--settle"}, "SCRIPT LOAD settle"},
		{"a script that was loaded", []string{"EVALSHA", "459FCEC0AE8CC97DBB83E75A3FDE059534717E09", "1", "k"}, "EVALSHA settle"},
		{"a call cut short", []string{"EVALSHA"}, "EVALSHA"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := n.name(tc.args); got != tc.want {
				t.Errorf("name(%q) = %q, want %q", tc.args, got, tc.want)
			}
		})
	}
}

// What is read is handed on byte for byte and never panics, whatever it is.
func FuzzReadCommand(f *testing.F) {
	f.Add([]byte("*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"))
	f.Add([]byte("PING\r\n"))
	f.Add([]byte("*-1\r\n*1\r\n$0\r\n\r\n"))
	f.Add([]byte("*1\r\n$4\r\nPIN"))
	f.Fuzz(func(t *testing.T, in []byte) {
		n := namer{scripts: make(map[string]string)}
		r := bufio.NewReader(bytes.NewReader(in))
		var out []byte
		for {
			cmd, err := readCommand(r)
			if err != nil {
				break
			}
			out = append(out, cmd.raw...)
			if len(cmd.args) > 0 {
				n.name(cmd.args)
			}
			again, err := readCommand(bufio.NewReader(bytes.NewReader(cmd.raw)))
			if err != nil || !reflect.DeepEqual(again, cmd) {
				t.Fatalf("read again %q is %q, %v", cmd, again, err)
			}
		}
		if !bytes.HasPrefix(in, out) {
			t.Errorf("%q was handed on as %q", in, out)
		}
	})
}

func FuzzReadReply(f *testing.F) {
	f.Add([]byte("*2\r\n$3\r\nGET\r\n%1\r\n+k\r\n|1\r\n+a\r\n:1\r\n:2\r\n"))
	f.Add([]byte("$-1\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := readReply(bufio.NewReader(bytes.NewReader(in)))
		if err == nil && (!bytes.HasPrefix(in, got) || !slices.Contains([]byte("+-:_,#($!=*~>%|"), got[0])) {
			t.Errorf("%q was handed on as %q", in, got)
		}
	})
}
