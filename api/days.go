package api

import (
	"context"

	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// paidDays adds payments up by day. A day is read once; later only what came
// after, unless the number of its payments changed.
type paidDays struct{ days map[int64]*paidDay }

// paidDay is the payments of one day up to a moment.
type paidDay struct {
	upto   int64 // unix seconds
	count  int64
	amount util.Shannon
}

const (
	daysShown = 30
	// daysLag is how late a payment may be written, in seconds: what is younger
	// is read again each time.
	daysLag = 30
)

// read returns the last days, newest first.
func (d *paidDays) read(ctx context.Context, db *storage.DB, now int64) ([]dayView, error) {
	if d.days == nil {
		d.days = map[int64]*paidDay{}
	}
	today := now / daySeconds
	spans := make([][2]int64, daysShown)
	for i := range spans {
		day := today - int64(i)
		if d.days[day] == nil {
			d.days[day] = &paidDay{upto: day*daySeconds - 1}
		}
		spans[i] = [2]int64{day * daySeconds, d.days[day].upto}
	}
	counts, err := db.PaidCounts(ctx, spans)
	if err != nil {
		return nil, err
	}
	out := make([]dayView, daysShown)
	for i := range out {
		day := today - int64(i)
		known, end := d.days[day], (day+1)*daySeconds-1
		if counts[i] != known.count {
			known = &paidDay{upto: day*daySeconds - 1}
		}
		next, shown := *known, *known
		next.upto = max(known.upto, min(end, now-daysLag))
		if known.upto < end {
			if err := db.PaidBetween(ctx, known.upto+1, end, func(p storage.PaidRow) {
				shown.count, shown.amount = shown.count+1, shown.amount+p.Amount
				if p.Time <= next.upto {
					next.count, next.amount = next.count+1, next.amount+p.Amount
				}
			}); err != nil {
				return nil, err
			}
		}
		d.days[day] = &next
		out[i] = dayView{Day: dayName(day), Amount: shown.amount, Payments: int(shown.count)}
	}
	delete(d.days, today-daysShown)
	return out, nil
}
