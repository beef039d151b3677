package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/rpc"
	"github.com/open-ethereum-pool/open-ethereum-pool/build/devnet/chain"
)

// asDevnet in the environment makes the test binary behave as devnet itself,
// so that the tests see what a user sees: lines, signals and exit codes.
const asDevnet = "DEVNET_TEST_AS_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asDevnet) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// process is a running devnet.
type process struct {
	t      testing.TB
	cmd    *exec.Cmd
	stdout *bufio.Reader
	stderr bytes.Buffer
}

// launch starts devnet and decodes its first line into ready. The process is
// ended with the test and must then exit with 0.
func launch(t testing.TB, ready any, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(os.Args[0], args...)}
	p.cmd.Env = append(os.Environ(), asDevnet+"=1")
	p.cmd.Stderr = &p.stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdout = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.stop)
	line, err := p.stdout.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, ready)
	}
	if err != nil {
		t.Fatalf("devnet %v: ready line %q: %v", args, line, err)
	}
	return p
}

// stop ends the process as a supervisor does. A second call does nothing.
func (p *process) stop() {
	if p.cmd.ProcessState != nil {
		return
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Errorf("end devnet: %v", err)
	}
	more, err := io.ReadAll(p.stdout)
	if err != nil || len(more) > 0 {
		p.t.Errorf("after the ready line, standard output had %q, %v", more, err)
	}
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("devnet ended with %v and %q", err, &p.stderr)
	}
}

// node is a running chain with a connection to it.
type node struct {
	*process
	chain.Ready
	rpc *rpc.Client
}

func startChain(t testing.TB, args ...string) *node {
	t.Helper()
	n := new(node)
	n.process = launch(t, &n.Ready, append([]string{"chain"}, args...)...)
	client, err := rpc.Dial(n.HTTP)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	n.rpc = client
	return n
}

// call fails the test if the node answers with an error.
func (n *node) call(result any, method string, params ...any) {
	n.t.Helper()
	if err := n.try(result, method, params...); err != nil {
		n.t.Fatalf("%s: %v", method, err)
	}
}

func (n *node) try(result any, method string, params ...any) error {
	return n.rpc.CallContext(context.Background(), result, method, params...)
}

// refuses fails the test unless the node's error speaks of want.
func (n *node) refuses(want, method string, params ...any) {
	n.t.Helper()
	if err := n.try(nil, method, params...); err == nil || !strings.Contains(err.Error(), want) {
		n.t.Errorf("%s%v: error %v, want %q", method, params, err, want)
	}
}

// await polls until ok; the limit of the whole test run is its only limit.
func await(ok func() bool) {
	for !ok() {
		time.Sleep(5 * time.Millisecond)
	}
}

func TestWrongCommandLinesSayWhatWouldBeRight(t *testing.T) {
	for _, tc := range []struct {
		name, args, want string
	}{
		{"no verb prints the usage", "", "devnet chain [flags]"},
		{"unknown verb prints the usage", "dig", `no verb "dig"`},
		{"unknown flag", "chain --moon", "moon"},
		{"argument nobody asked for", "chain now", `unexpected argument "now"`},
		{"http without a port", "chain --http localhost", "want host:port"},
		{"http with a port by name", "chain --http localhost:www", "want host:port"},
		{"ws without a port", "chain --ws localhost", "want host:port"},
		{"chain id 0", "chain --chain-id 0", "want 1 or more"},
		{"long genesis seed", "chain --genesis-seed " + strings.Repeat("x", 33), "want at most 32"},
		{"difficulty 0", "chain --difficulty 0", "want 1 or more"},
		{"tiny gas limit", "chain --gas-limit 4999", "want 5000 or more"},
		{"unknown proof of work", "chain --pow fake", "want test or real"},
		{"negative interval", "chain --block-interval -1s", "want 0 or more"},
		{"funded address too short", "chain --fund 0x12=1", "40 hexadecimal digits"},
		{"funded amount missing", "chain --fund 0x00000000000000000000000000000000000000aa", "want coins"},
		{"funded amount negative", "chain --fund 0x00000000000000000000000000000000000000aa=-1", "want coins"},
		{"funded amount below one Wei", "chain --fund 0x00000000000000000000000000000000000000aa=1e-19", "want coins"},
		{"key of wrong length", "chain --key 0x1234", "64 hexadecimal digits"},
		{"coinbase that is none", "chain --coinbase me", "40 hexadecimal digits"},
		{"peer port out of range", "chain --peer-port 65536", "want 0 to 65535"},
		{"peer that is no enode", "chain --connect 127.0.0.1:30303", "want enode://"},
		{"price limit 0", "chain --price-limit 0", "want 1 Wei or more"},
		{"fee cap below 0", "chain --rpc-txfeecap -1", "want 0 or more"},
		{"mempool limit 0", "chain --account-slots 0", "want 1 or more"},
		{"redis on no port", "redis --listen 127.0.0.1", "serve Redis"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], strings.Fields(tc.args)...)
			cmd.Env = append(os.Environ(), asDevnet+"=1")
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			if err := cmd.Run(); err == nil {
				t.Error("exit status 0")
			}
			if stdout.Len() > 0 || !strings.Contains(stderr.String(), tc.want) {
				t.Errorf("printed %q and on standard error %q, want %q there", &stdout, &stderr, tc.want)
			}
		})
	}
}

func TestHelpNamesEveryFlagAndSucceeds(t *testing.T) {
	for verb, flags := range map[string][]string{
		"chain": {"-http", "-ws", "-datadir", "-chain-id", "-genesis-seed", "-difficulty", "-gas-limit", "-pow",
			"-block-interval", "-london", "-fund", "-key", "-locked", "-coinbase", "-peer-port", "-connect",
			"-account-slots", "-account-queue", "-global-slots", "-global-queue", "-no-locals", "-price-limit",
			"-rpc-txfeecap", "-verbosity"},
		"redis": {"-listen"},
		"mine":  {"-pool", "-login", "-rig", "-dialect", "-rest"},
	} {
		cmd := exec.Command(os.Args[0], verb, "--help")
		cmd.Env = append(os.Environ(), asDevnet+"=1")
		out, err := cmd.Output()
		if err != nil {
			t.Errorf("%s --help: %v", verb, err)
		}
		words := strings.Fields(string(out))
		for _, f := range flags {
			if !slices.Contains(words, f) {
				t.Errorf("%s --help does not name %s", verb, f)
			}
		}
	}
}

func TestRedisServesAndWarnsThatItKeepsNothing(t *testing.T) {
	var ready redisReady
	p := launch(t, &ready, "redis")
	conn, err := net.Dial("tcp", ready.Redis)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, "*1\r\n$4\r\nPING\r\n"); err != nil {
		t.Fatal(err)
	}
	if got, err := bufio.NewReader(conn).ReadString('\n'); got != "+PONG\r\n" {
		t.Errorf("PING answered %q, %v", got, err)
	}
	p.stop()
	if !strings.Contains(p.stderr.String(), "forgets it all when it stops") {
		t.Errorf("warned %q", &p.stderr)
	}
}
