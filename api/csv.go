package api

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// csvMost is how many tables are written at once, csvMostFrom of them to one
// address, csvWait how long others wait for their turn.
const (
	csvMost     = 8
	csvMostFrom = 2
	csvWait     = 5 * time.Second
)

// table writes rows in pieces.
type table struct {
	*csv.Writer
	control *http.ResponseController // nil where there must be but one piece
}

// errLarge is a table of more than one piece.
var errLarge = errors.New("the table is large")

// piece sends what was written so far and gives the client time for more.
func (t *table) piece() error {
	if t.control == nil {
		return errLarge
	}
	t.Flush()
	if err := t.Error(); err != nil {
		return err
	}
	if err := t.control.SetWriteDeadline(time.Now().Add(writeWait)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return t.control.Flush()
}

// attachment is a body whose head goes out with its first bytes: until then it may
// become an error.
type attachment struct {
	w     http.ResponseWriter
	name  string
	begun bool
}

func (a *attachment) begin() {
	h := a.w.Header()
	h["Content-Type"], h["Content-Disposition"] = kindCSV, disposition(a.name)
	h["Cache-Control"], h["X-Content-Type-Options"] = noStore, notSniffed
	a.w.WriteHeader(http.StatusOK)
	a.begun = true
}

func (a *attachment) Write(b []byte) (int, error) {
	if !a.begun {
		a.begin()
	}
	return a.w.Write(b)
}

var kindCSV = []string{"text/csv; charset=utf-8"}

func disposition(name string) []string {
	return []string{fmt.Sprintf(`attachment; filename="%s.csv"`, name)}
}

// large stands in the cache for a table that is not kept.
var large = new(answer)

// smallTable makes a table that is kept for as long as other answers about a miner.
func (a *API) smallTable(ctx context.Context, login string, write func(context.Context, *table, string) error) (*answer, error) {
	login, err := a.stored(ctx, login)
	if errors.Is(err, storage.ErrNotFound) {
		return notFound("no such miner"), nil
	}
	if err != nil {
		return nil, err
	}
	var body bytes.Buffer
	switch err := write(ctx, &table{Writer: csv.NewWriter(&body)}, login); {
	case errors.Is(err, errLarge):
		return large, nil
	case err != nil:
		return nil, err
	}
	table := newAnswer(kindCSV, noStore, bytes.Clone(body.Bytes()))
	table.tagged = false
	return table, nil
}

// onCSV serves a table of one miner, oldest rows first, without a limit: one that is
// not small is read and written in pieces.
func (a *API) onCSV(name string, write func(context.Context, *table, string) error) func(http.ResponseWriter, *http.Request) int {
	return func(w http.ResponseWriter, r *http.Request) int {
		login, err := loginOf(r)
		if err != nil {
			return fail(w, http.StatusBadRequest, "%v", err)
		}
		small, err := a.cache.get(r.Context(), name+login, accountCycles, func(ctx context.Context, _ *snapshot) (*answer, error) {
			return a.smallTable(ctx, login, write)
		})
		if err != nil {
			return a.unmade(w, r, err)
		}
		if small != large {
			if small.status == http.StatusOK {
				w.Header()["Content-Disposition"] = disposition(name + "-" + login)
			}
			return small.serve(w, r)
		}
		leave, ok := a.tables.enter(r)
		if !ok {
			w.Header().Set("Retry-After", "5")
			return fail(w, http.StatusTooManyRequests, "%d tables are being written to your address already; try again in a moment", csvMostFrom)
		}
		defer leave()
		if !a.turn(r.Context()) {
			w.Header().Set("Retry-After", "5")
			return fail(w, http.StatusServiceUnavailable, "too many tables are being written; try again in a moment")
		}
		defer func() { <-a.csv }()
		login, err = a.stored(r.Context(), login)
		if errors.Is(err, storage.ErrNotFound) {
			return fail(w, http.StatusNotFound, "no such miner")
		}
		body := &attachment{w: w, name: name + "-" + login}
		switch {
		case err != nil:
		case r.Method == http.MethodHead:
			body.begin()
		default:
			err = write(r.Context(), &table{csv.NewWriter(body), http.NewResponseController(w)}, login)
		}
		if err == nil {
			return http.StatusOK
		}
		if r.Context().Err() == nil {
			a.log.Warn("a table could not be made, or was cut off", "path", r.URL.Path, "err", err)
		}
		if body.begun { // a table that ends early must not look whole
			panic(http.ErrAbortHandler)
		}
		return unreadable(w)
	}
}

// turn waits until a table may be written; false when that takes too long.
func (a *API) turn(ctx context.Context) bool {
	select {
	case a.csv <- struct{}{}:
		return true
	default:
	}
	ctx, cancel := context.WithTimeout(ctx, csvWait)
	defer cancel()
	select {
	case a.csv <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func clock(unix int64) string { return time.Unix(unix, 0).UTC().Format(time.RFC3339) }

func (a *API) paymentsCSV(ctx context.Context, t *table, login string) error {
	s := a.snap.Load()
	if err := t.Write([]string{"time", "transaction", "amount", "amount_shannon", "status", "block", "fee_wei"}); err != nil {
		return err
	}
	for from := int64(0); ; from += storage.StatsChunk {
		rows, more, err := a.db.PaidChunk(ctx, login, from)
		if err != nil {
			return err
		}
		known, err := a.c.statuses(ctx, s.meta, rows)
		if err != nil {
			return err
		}
		for _, row := range rows {
			v := paidView(row, known, s.head)
			block := ""
			if v.Block > 0 {
				block = strconv.FormatUint(v.Block, 10)
			}
			if err := t.Write([]string{clock(v.Timestamp), v.Tx, v.Amount.Coins(), v.Amount.String(), v.Status, block, v.FeeWei}); err != nil {
				return err
			}
		}
		if !more {
			t.Flush()
			return t.Error()
		}
		if err := t.piece(); err != nil {
			return err
		}
	}
}

func (a *API) rewardsCSV(ctx context.Context, t *table, login string) error {
	if err := t.Write([]string{"time", "height", "hash", "kind", "amount", "amount_shannon", "state"}); err != nil {
		return err
	}
	immature, _ := a.c.rewards.of(login)
	// A block may mature, and so move into what is read, at any moment.
	written := map[string]bool{}
	row := func(at int64, height uint64, hash, kind string, amount util.Shannon, state string) error {
		if written[hash] || amount == 0 {
			return nil
		}
		written[hash] = true
		return t.Write([]string{clock(at), strconv.FormatUint(height, 10), hash, kind, amount.Coins(), amount.String(), state})
	}
	for from := int64(0); ; from += storage.StatsChunk {
		blocks, more, err := a.db.MaturedChunk(ctx, from)
		if err != nil {
			return err
		}
		amounts, err := a.db.CreditsOf(ctx, login, blocks)
		if err != nil {
			return err
		}
		for i, b := range blocks {
			if err := row(b.Time, b.Height, b.Hash, kindOf(b), amounts[i], stateMatured); err != nil {
				return err
			}
		}
		if !more {
			break
		}
		if err := t.piece(); err != nil {
			return err
		}
	}
	for _, r := range slices.Backward(immature) {
		if r.Immature {
			if err := row(r.Timestamp, r.Height, r.Hash, r.Kind, r.Amount, stateImmature); err != nil {
				return err
			}
		}
	}
	t.Flush()
	return t.Error()
}
