package storage

import (
	"context"
	"fmt"

	"github.com/ethereum/go-ethereum/common"
)

// Strays are transfers of the account that no book has, with their recipients.
func (db *DB) Strays(ctx context.Context) (map[common.Hash]common.Address, error) {
	key := db.Keys.Strays()
	rows, err := db.rdb.HGetAll(ctx, key).Result()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	strays := make(map[common.Hash]common.Address, len(rows))
	for tx, to := range rows {
		var hash common.Hash
		if err := hash.UnmarshalText([]byte(tx)); err != nil || !common.IsHexAddress(to) {
			return nil, fmt.Errorf("%w: %s field %q = %q: want HASH → ADDRESS", ErrMalformed, key, tx, to)
		}
		strays[hash] = common.HexToAddress(to)
	}
	return strays, nil
}
