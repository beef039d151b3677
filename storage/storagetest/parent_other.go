//go:build !linux

package storagetest

import "syscall"

// dieWithParent is known on Linux only. Elsewhere a killed test binary leaves
// its server running.
func dieWithParent() *syscall.SysProcAttr { return nil }
