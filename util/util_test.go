package util

import (
	"errors"
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

func TestShannonToWeiAndBackIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := Shannon(rapid.Int64Range(-int64(MaxShannon), int64(MaxShannon)).Draw(t, "shannon"))
		got, dust, err := ShannonFromWei(s.Wei())
		if err != nil || got != s || dust.Sign() != 0 {
			t.Fatalf("%d -> %s Wei -> %d, dust %s, %v", s, s.Wei(), got, dust, err)
		}
		parsed, err := ParseShannon(s.String())
		if err != nil || parsed != s {
			t.Fatalf("ParseShannon(%q) = %d, %v", s.String(), parsed, err)
		}
	})
}

func TestShannonFromWeiKeepsTheDust(t *testing.T) {
	got, dust, err := ShannonFromWei(big.NewInt(3_999_999_999))
	if err != nil || got != 3 || dust.Int64() != 999_999_999 {
		t.Errorf("= %d, dust %s, %v; want 3, dust 999999999", got, dust, err)
	}
}

func TestAmountsBeyondWhatLuaCountsExactlyAreRefused(t *testing.T) {
	for _, s := range []string{"9007199254740992", "-9007199254740992", "99999999999999999999", "1.5", "", " 1", "0x10"} {
		if got, err := ParseShannon(s); !errors.Is(err, ErrAmount) {
			t.Errorf("ParseShannon(%q) = %d, %v; want ErrAmount", s, got, err)
		}
	}
	if _, _, err := ShannonFromWei((MaxShannon + 1).Wei()); !errors.Is(err, ErrAmount) {
		t.Errorf("ShannonFromWei above the limit: %v", err)
	}
}

func TestCoins(t *testing.T) {
	for s, want := range map[Shannon]string{
		0: "0", 500_000_000: "0.5", 3_400_000_000: "3.4", 12_000_000_000: "12", 1: "0.000000001", -1_500_000_000: "-1.5",
	} {
		if got := s.Coins(); got != want {
			t.Errorf("%d Shannon = %q coins, want %q", int64(s), got, want)
		}
	}
}

func TestLoginsAreAddressesInAnyCase(t *testing.T) {
	const mixed = "0x34AE12692BD4567A27e3E86411b58Ea6954BA773"
	const lower = "0x34ae12692bd4567a27e3e86411b58ea6954ba773"
	a, err := ParseLogin(mixed)
	if err != nil {
		t.Fatal(err)
	}
	b, err := ParseLogin(lower)
	if err != nil || a != b || !SameLogin(mixed, lower) {
		t.Errorf("%s and %s name different accounts (%v)", mixed, lower, err)
	}
	for _, bad := range []string{"", "all", "lock", "0x", lower[2:], lower + "0", "0X" + lower[2:], "0xzz" + lower[4:]} {
		if IsLogin(bad) {
			t.Errorf("IsLogin(%q)", bad)
		}
	}
}
