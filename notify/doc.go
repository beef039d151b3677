// Package notify tells people and programs what happened in the pool: a payout
// session is over, payouts are halted, the wallet runs low, a block was found, the
// audit found something.
//
// Each hook of the configuration has a goroutine of its own, which every interval
// goes over one line:
//
//	read Redis and what the hook was told → decide what to tell → post → write down
//
// A [Notifier] only reads the books, and writes nothing but one hash per hook. It
// knows neither the payments lock nor the engine, so that no payout waits for it
// and it may run in any process. There is no queue: what is still to be told
// follows from Redis, whatever died in between. News comes at least once, with an
// id that is the same each time.
//
//   - config.go: the section "notify"
//   - event.go: what is told, in fields and in words
//   - decide.go: what is told next, a pure function
//   - hook.go: one hook's loop, and how long it waits after a failure
//   - post.go: one message over HTTP
//
// Nothing here logs a URL or a token.
package notify
