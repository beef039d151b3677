package api

import (
	"net"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// inFile keeps a body in a file in memory as well, from which the kernel sends it
// without a copy for each client; nil where there can be none. Whoever drops the
// file last closes it.
func inFile(body []byte) *os.File {
	fd, err := unix.MemfdCreate("answer", unix.MFD_CLOEXEC)
	if err != nil {
		return nil
	}
	f := os.NewFile(uintptr(fd), "answer")
	if _, err := f.Write(body); err != nil {
		f.Close()
		return nil
	}
	return f
}

// sendFile writes so many bytes of the file to the client, from an offset on, and
// returns how many it has written. Clients that are slow are waited for, as long as
// the connection's deadline lets them.
func sendFile(c *net.TCPConn, f *os.File, from int64, n int) (sent int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var failed error
	err = raw.Write(func(socket uintptr) (done bool) {
		for sent < n {
			var some int
			switch some, failed = unix.Sendfile(int(socket), int(f.Fd()), &from, n-sent); {
			case failed == unix.EAGAIN:
				return false
			case failed == unix.EINTR:
			case failed != nil:
				return true
			case some == 0: // the file is shorter, which nobody made it
				failed = unix.EIO
				return true
			}
			sent += some
		}
		return true
	})
	runtime.KeepAlive(f)
	if err == nil && sent < n {
		err = os.NewSyscallError("sendfile", failed)
	}
	return sent, err
}
