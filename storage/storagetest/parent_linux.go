package storagetest

import "syscall"

// dieWithParent has the kernel end the server with the test binary, also when
// that is killed and runs no cleanup.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
