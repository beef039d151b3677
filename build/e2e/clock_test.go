package e2e

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"
)

// clock is one process' clock on the wall, which can be put forward and back while
// the process runs. The clock that only counts seconds, by which programs wait, is
// left alone, as when a machine is set to another time.
//
// A Go program reads the time by code that the kernel maps into every process, the
// vDSO. Before the first instruction of the process that code is replaced, in its
// copy of the page alone, by [clockCode].
type clock struct {
	mem    *os.File // the process' memory
	offset int64    // where in it the seconds are that are added
}

// clockCode is clock_gettime for linux on amd64: the system call, and for
// CLOCK_REALTIME as many seconds more as the eight bytes after the code say.
var clockCode = []byte{
	0xb8, 228, 0, 0, 0, // mov eax, 228: clock_gettime
	0x0f, 0x05, // syscall
	0x85, 0xff, // test edi, edi: CLOCK_REALTIME is 0
	0x75, 0x0a, // jnz to ret
	0x48, 0x8b, 0x0d, 4, 0, 0, 0, // mov rcx, [rip+4]: what follows ret
	0x48, 0x01, 0x0e, // add [rsi], rcx
	0xc3, // ret
}

// startClocked starts a process with a clock of its own.
func startClocked(t testing.TB, cmd *exec.Cmd) (*process, *clock) {
	t.Helper()
	c := new(clock)
	p := startWith(t, cmd, c.replace)
	t.Cleanup(func() { c.mem.Close() })
	return p, c
}

// replace puts the code in its place.
func (c *clock) replace(pid int) error {
	if runtime.GOARCH != "amd64" {
		return fmt.Errorf("a process' clock can be put forward on amd64 only, this is %s", runtime.GOARCH)
	}
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return err
	}
	var from, to int64
	for line := range strings.Lines(string(maps)) {
		if strings.Contains(line, "[vdso]") {
			if _, err := fmt.Sscanf(line, "%x-%x", &from, &to); err != nil {
				return fmt.Errorf("read %q of process %d's maps: %w", line, pid, err)
			}
		}
	}
	if c.mem, err = os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0); err != nil {
		return err
	}
	page := make([]byte, to-from)
	if _, err := c.mem.ReadAt(page, from); err != nil {
		return fmt.Errorf("read the vDSO of process %d: %w", pid, err)
	}
	image, err := elf.NewFile(bytes.NewReader(page))
	if err != nil {
		return fmt.Errorf("read the vDSO of process %d: %w", pid, err)
	}
	symbols, err := image.DynamicSymbols()
	if err != nil {
		return fmt.Errorf("read the vDSO of process %d: %w", pid, err)
	}
	for _, s := range symbols {
		if s.Name == "__vdso_clock_gettime" && s.Size >= uint64(len(clockCode)+8) {
			at := from + int64(s.Value)
			c.offset = at + int64(len(clockCode))
			_, err := c.mem.WriteAt(append(bytes.Clone(clockCode), make([]byte, 8)...), at)
			return err
		}
	}
	return fmt.Errorf("the vDSO of process %d has no clock_gettime", pid)
}

// set puts the clock so far before, or after, the true time.
func (c *clock) set(ahead time.Duration) error {
	seconds := binary.LittleEndian.AppendUint64(nil, uint64(int64(ahead/time.Second)))
	_, err := c.mem.WriteAt(seconds, c.offset)
	return err
}
