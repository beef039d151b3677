package storagetest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// logFile, in the server's directory, takes what the process prints. A file
// and not a pipe: a pipe stays open as long as any child of the server lives.
const logFile = "redis.log"

// process is one run of redis-server. It is ended through its handle and
// never by a number that the system may have given to somebody else.
type process struct {
	cmd  *exec.Cmd
	gone chan struct{} // closed when the process is dead and reaped
}

// startProcess runs redis-server with the redis.conf of dir.
func startProcess(dir string) (*process, error) {
	log, err := os.Create(filepath.Join(dir, logFile))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p := &process{cmd: exec.Command("redis-server", filepath.Join(dir, "redis.conf")), gone: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = dieWithParent()

	started := make(chan error, 1)
	go func() {
		// "Die with the parent" means the parent's thread: this one has to
		// stay until the server is gone.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // killed or stopped: how it ended is no news
			close(p.gone)
		}
	}()
	return p, <-started
}

// end sends the signal and waits. A process that ended by itself before is an
// error: the test was speaking to nobody.
func (p *process) end(sig syscall.Signal) error {
	if err := p.cmd.Process.Signal(sig); errors.Is(err, os.ErrProcessDone) {
		<-p.gone
		return fmt.Errorf("it had ended by itself: %s", p.cmd.ProcessState)
	} else if err != nil {
		return err
	}
	select {
	case <-p.gone:
		return nil
	case <-time.After(patience):
		_ = p.cmd.Process.Kill() // the error below is the one to tell
		<-p.gone
		return fmt.Errorf("it did not end after %s", sig)
	}
}
