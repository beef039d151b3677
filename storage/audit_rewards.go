package storage

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// rewards adds up what blocks brought, and are going to bring.
func (a *auditor) rewards(ctx context.Context) error {
	if err := a.readSplits(ctx); err != nil {
		return err
	}
	blocks, bad, err := a.db.ImmatureBlocks(ctx, math.MaxUint64)
	if err != nil {
		return err
	}
	for _, b := range bad {
		a.Wrong(a.db.Keys.Immature(), "every row can be read", doMalformed, "%v", b)
	}
	plans, err := a.db.rdb.HGetAll(ctx, a.db.Keys.Plans()).Result()
	if err != nil {
		return fmt.Errorf("read %s: %w", a.db.Keys.Plans(), err)
	}
	credits := map[string]string{} // immature credits, and the split they should be
	for _, b := range blocks {
		credits[a.db.Keys.CreditsImmature(b.Height, b.Hash)] = ""
		if b.Begun == "" {
			credits[a.db.Keys.CreditsImmature(b.Height, b.Hash)] = b.split()
		}
	}
	for id, plan := range plans {
		// What is half credited is so until the unlocker's next pass.
		parts := strings.Split(strings.TrimPrefix(plan, planCredit), ":")
		if height, err := strconv.ParseUint(parts[0], 10, 64); err == nil && len(parts) == 3 {
			credits[a.db.Keys.CreditsImmature(height, parts[1])] = ""
		}
		a.Notes = append(a.Notes, fmt.Sprintf("block %s is half done (%s); the unlocker's next pass ends it", id, plan))
	}
	slices.Sort(a.Notes)
	for _, key := range slices.Sorted(maps.Keys(credits)) {
		if err := a.add(ctx, key, credits[key], func(s *sums) *util.Shannon { return &s.immature }); err != nil {
			return err
		}
	}
	// What is half matured is in no row yet.
	for _, b := range blocks {
		if b.Begun == BegunMature {
			if err := a.matured(ctx, b, ""); err != nil {
				return err
			}
		}
	}
	return nil
}

// credits adds up what matured blocks brought, all since the first.
func (a *auditor) credits(ctx context.Context) error {
	key := a.db.Keys.Matured()
	for from := int64(0); ; from += statsChunk {
		zs, err := a.db.rdb.ZRangeWithScores(ctx, key, from, from+statsChunk-1).Result()
		if err != nil {
			return fmt.Errorf("read %s: %w", key, err)
		}
		var bad []error
		for _, b := range parseRows(&bad, key, zs, parseBlock) {
			if b.Orphan {
				continue
			}
			if err := a.matured(ctx, b, b.split()); err != nil {
				return err
			}
		}
		for _, err := range bad {
			a.Wrong(key, "every row can be read", doMalformed, "%v", err)
		}
		if len(zs) < statsChunk {
			return nil
		}
	}
}

func (a *auditor) matured(ctx context.Context, b Block, split string) error {
	return a.add(ctx, a.db.Keys.Credits(b.Height, b.Hash), split, func(s *sums) *util.Shannon { return &s.credited })
}

// readSplits reads how rewards were divided, by HEIGHT:HASH.
func (a *auditor) readSplits(ctx context.Context) error {
	key := a.db.Keys.Splits()
	texts, err := a.db.fields(ctx, key)
	if err != nil {
		return err
	}
	a.Blocks, a.splits = len(texts), make(map[string]Split, len(texts))
	for _, block := range slices.Sorted(maps.Keys(texts)) {
		s, _, ok := parseSplit(texts[block])
		switch {
		case !ok:
			a.Wrong(key, "every field is REWARD:MINERS:FEE:DUST:LOGINS:FEELOGIN", doMalformed, "%s is %q", block, texts[block])
			continue
		case !s.whole():
			a.Wrong(key, "miners + fee + dust = reward", doMalformed, "%s is %q", block, texts[block])
		}
		a.splits[block] = s
	}
	return nil
}

// add adds up the credits of one block, which must be its split where there is one.
func (a *auditor) add(ctx context.Context, key, block string, to func(*sums) *util.Shannon) error {
	fields, err := a.db.fields(ctx, key)
	if err != nil {
		return err
	}
	var sum util.Shannon
	for login, text := range fields {
		amount, err := util.ParseShannon(text)
		if err != nil || !util.IsLogin(login) {
			a.Wrong(key, "every field is LOGIN and Shannon", doMalformed, "%s is %q", login, text)
			continue
		}
		*to(a.of(login)) += amount
		sum += amount
	}
	if s, ok := a.splits[block]; ok && sum != s.credited() {
		a.Wrong(key, "a block's credits are its split", doRestored, "they sum up to %s, the split is %s", sum, s)
	}
	return nil
}
