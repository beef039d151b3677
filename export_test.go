package main

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestExportsAreExact: every row of the days that were asked for, with its money to
// the last unit, and nothing of the day after.
func TestExportsAreExact(t *testing.T) {
	d := newDesk(t)
	at := time.Date(2026, 3, 1, 23, 59, 59, 0, time.UTC).Unix()
	tx := func(n int) string { return fmt.Sprintf("0x%064x", n) }
	d.redis.Do(t, "ZADD", "etc:payments:all", at, tx(1)+":"+somebody+":1500000001", at+1, tx(2)+":"+somebody+":7", at+86_401, tx(3)+":"+somebody+":9")
	d.redis.Do(t, "HSET", "etc:payments:hashes", tx(1), "5-a")
	d.redis.Do(t, "HSET", "etc:payments:p:5-a", "state", "final", "block", 77, "fee", "21000000000000")
	d.redis.Do(t, "ZADD", "etc:blocks:matured",
		100, fmt.Sprintf("0:0:0x0000000000000001:%s:%d:1000:900:3200000000000000007", tx(100), at-10),
		101, fmt.Sprintf("102:0:0x0000000000000002:%s:%d:1000:900:100000000000000000", tx(101), at+10),
		103, fmt.Sprintf("0:1:0x0000000000000003:0x0:%d:1000:900:0", at))
	d.redis.Do(t, "HSET", "etc:credits:splits", "100:"+tx(100), "3200000000000000007:3168000000:32000000:7:3:")

	for _, tc := range []struct {
		args string
		want []string
	}{
		{"2026-03-01 2026-03-02", []string{"time,miner,amount,amountShannon,transaction,state,block,feeWei",
			"2026-03-01T23:59:59Z," + somebody + ",1.500000001,1500000001," + tx(1) + ",final,77,21000000000000"}},
		{"2026-03-01 2026-03-03 rewards", []string{"found,height,kind,hash,reward,rewardWei,minersShannon,poolFeeShannon,dustWei",
			"2026-03-01T23:59:49Z,100,block," + tx(100) + ",3.200000000000000007,3200000000000000007,3168000000,32000000,7",
			"2026-03-02T00:00:09Z,101,uncle," + tx(101) + ",0.1,100000000000000000,,,"}},
		{"2026-03-01 2026-03-03 days", []string{"day,blocks,rewardWei,minersShannon,poolFeeShannon,dustWei,payments,paidShannon,networkFeesWei",
			"2026-03-01,1,3200000000000000007,3168000000,32000000,7,1,1500000001,21000000000000",
			"2026-03-02,1,100000000000000000,0,0,0,1,7,0"}},
		{"2026-03-02 2026-03-03 payments --json", []string{`{"amount":"0.000000007","amountShannon":"7","block":"","feeWei":"","miner":"` + somebody + `","state":"","time":"2026-03-02T00:00:00Z","transaction":"` + tx(2) + `"}`}},
	} {
		text := d.says(exitOK, "", append([]string{"export"}, strings.Fields(tc.args)...)...)
		if got := strings.Split(strings.TrimSpace(text), "\n"); strings.Join(got, "\n") != strings.Join(tc.want, "\n") {
			t.Errorf("export %s\n%s\nwant\n%s", tc.args, text, strings.Join(tc.want, "\n"))
		}
	}
	// What cannot be read is not left out in silence.
	d.redis.Do(t, "ZADD", "etc:payments:all", at, "nonsense")
	d.redis.Do(t, "ZADD", "etc:blocks:matured", 104, "nonsense")
	d.says(exitError, "1 rows cannot be read and are missing", "export", "2026-03-01", "2026-03-02")
	d.says(exitError, "1 rows cannot be read and are missing", "export", "2026-03-01", "2026-03-02", "rewards")
}
