package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/params"
)

// BenchmarkStart is the time from nothing to the ready line, and the memory
// that a new node occupies.
func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		n := startChain(b)
		b.ReportMetric(resident(b, n), "MiB")
		n.stop()
	}
}

// BenchmarkMine is one call of devnet_mine(1); sending the transactions is not
// counted.
func BenchmarkMine(b *testing.B) {
	for _, transfers := range []uint64{0, 380} {
		b.Run(fmt.Sprintf("transfers=%d", transfers), func(b *testing.B) {
			n := rich(b)
			nonce := uint64(0)
			for b.Loop() {
				b.StopTimer()
				for range transfers {
					n.pay(nonce, params.TxGas, payee)
					nonce++
				}
				b.StartTimer()
				n.mine(1)
			}
			b.ReportMetric(resident(b, n), "MiB")
		})
	}
}

// resident is the memory of the process in MiB.
func resident(b *testing.B, n *node) float64 {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.cmd.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	var kib float64
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		b.Fatal(err)
	}
	return kib / 1024
}
