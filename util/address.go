package util

import (
	"errors"
	"fmt"
	"strings"

	"github.com/ethereum/go-ethereum/common"
)

// ErrLogin reports text that is no miner's login.
var ErrLogin = errors.New("not 0x and 40 hex digits")

// ParseLogin returns the account a miner's login names. A login is stored and
// shown as the miner wrote it; upper and lower case letters name the same
// account (EIP-55 checksums are not demanded, old data has none).
func ParseLogin(login string) (common.Address, error) {
	if len(login) != 42 || !strings.HasPrefix(login, "0x") || !common.IsHexAddress(login) {
		return common.Address{}, fmt.Errorf("login %q: %w", brief(login), ErrLogin)
	}
	return common.HexToAddress(login), nil
}

// IsLogin says whether the text names an account.
func IsLogin(login string) bool {
	_, err := ParseLogin(login)
	return err == nil
}

// SameLogin says whether two logins name the same account, whatever their case.
func SameLogin(a, b string) bool { return strings.EqualFold(a, b) }
