// Package storagetest gives a test a real redis-server of its own.
//
// Money is kept in Redis, so its tests speak to the server that production
// uses, and to nothing that imitates it:
//
//   - [Start] runs redis-server on a free loopback port in a temporary
//     directory and stops it when the test ends. [Option]s choose what
//     survives a stop: nothing (the default), snapshots, the append-only file.
//   - [Server.Kill], [Server.Stop] and [Server.Restart] are what happens to a
//     server; [Server.Restore] and [Server.TruncateAOF] are what happens to
//     its data, which then is older than what clients were told.
//   - [Server.Client], [Server.Do] and [Server.CLI] look at the data past the
//     code under test, the last as an operator does.
//
// A missing redis-server fails the test and never skips it. The package stops
// only processes it started.
package storagetest
