package storage

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOperatorsAreHeededAndRemembered(t *testing.T) {
	b := newBooks(t)
	b.begin()
	held := Act{Verb: ActHold, Login: alice, User: "root", Reason: `asked "us"`, Time: later}
	paused := Act{Verb: ActPause, User: "root", Reason: "holiday", Time: later + 1}
	acts := []Act{held, paused, {Verb: ActNote, What: "record 0x1", User: "me", Time: later + 2}}
	for _, a := range acts {
		b.ok(b.db.Control(ctx, a))
	}
	holds, err := b.db.Holds(ctx)
	b.ok(err)
	if diff := cmp.Diff(map[string]Act{alice: held}, holds); diff != "" {
		t.Errorf("holds: %s", diff)
	}
	m, err := b.db.Meta(ctx)
	b.ok(err)
	if m.Paused != "holiday" {
		t.Errorf("paused is %q", m.Paused)
	}
	b.clean()

	// What Redis forgot is repeated once, in its place.
	for n, a := range acts {
		b.ok(b.db.ControlAgain(ctx, int64(n), a))
	}
	got, err := b.db.Acts(ctx, 0)
	b.ok(err)
	if diff := cmp.Diff(acts, got); diff != "" {
		t.Errorf("acts: %s", diff)
	}
	b.do("DEL", b.db.Keys.Acts(), b.db.Keys.Holds())
	b.ok(b.db.ControlAgain(ctx, 0, held), b.db.ControlAgain(ctx, 1, paused))
	if n, err := b.db.ActCount(ctx); err != nil || n != 2 {
		t.Errorf("%d acts, %v, want 2", n, err)
	}
	if holds, err := b.db.Holds(ctx); err != nil || len(holds) != 1 {
		t.Errorf("holds are %v, %v", holds, err)
	}

	b.ok(b.db.Control(ctx, Act{Verb: ActRelease, Login: alice}), b.db.Control(ctx, Act{Verb: ActResume}))
	holds, err = b.db.Holds(ctx)
	b.ok(err)
	m, err = b.db.Meta(ctx)
	b.ok(err)
	if len(holds) != 0 || m.Paused != "" {
		t.Errorf("after release and resume: holds %v, paused %q", holds, m.Paused)
	}
	last, err := b.db.Acts(ctx, 3)
	b.ok(err)
	if len(last) != 1 || last[0].Verb != ActResume {
		t.Errorf("the last acts are %v", last)
	}
	b.do("HSET", b.db.Keys.Holds(), alice, "x")
	b.do("RPUSH", b.db.Keys.Acts(), "x")
	_, err1 := b.db.Holds(ctx)
	_, err2 := b.db.Acts(ctx, 0)
	for key, err := range map[string]error{b.db.Keys.Holds(): err1, b.db.Keys.Acts(): err2} {
		if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), key) {
			t.Errorf("error is %v, want ErrMalformed naming %s", err, key)
		}
	}
}
