package chain

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ethereum/go-ethereum/core/vm"
)

// contracts are recipients of plain transfers, by what they do with one.
var contracts = map[string][]byte{
	// reject reverts whatever it is sent.
	"reject": {byte(vm.PUSH1), 0, byte(vm.PUSH1), 0, byte(vm.REVERT)},
	// accept stops at once: the 21,000 gas of a transfer to a person suffice.
	"accept": {byte(vm.STOP)},
	// burn writes a new storage slot in each block: 21,000 gas never suffice.
	"burn": {byte(vm.GAS), byte(vm.NUMBER), byte(vm.SSTORE), byte(vm.STOP)},
}

// initCode returns the creation code of a contract of the kind: it puts the
// contract's code, at most 32 bytes, into one word of memory and returns its end.
func initCode(kind string) ([]byte, error) {
	code, ok := contracts[kind]
	if !ok {
		kinds := slices.Sorted(maps.Keys(contracts))
		return nil, fmt.Errorf("deploy a contract of kind %q: want one of %s", kind, strings.Join(kinds, ", "))
	}
	n := byte(len(code))
	init := append([]byte{byte(vm.PUSH1) + n - 1}, code...)
	return append(init,
		byte(vm.PUSH1), 0, byte(vm.MSTORE),
		byte(vm.PUSH1), n, byte(vm.PUSH1), 32-n, byte(vm.RETURN)), nil
}
