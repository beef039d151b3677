// Package fault stands between a program and what it talks to, one message at
// a time, and breaks the conversation where a test says.
//
//   - [Redis] is a proxy before a Redis server. Each command is one message,
//     also within a pipeline or a transaction; so are HELLO and CLIENT SETINFO,
//     which a client sends by itself.
//   - [HTTP] is a proxy before a JSON-RPC server. Each request is one message,
//     a batch as well.
//   - [Proxy.At] acts once, at the n-th message, before its delivery or after
//     its effect: kill the program there for every n in turn, and no moment of
//     its life is left out.
//   - [Proxy.Every] is asked about each message and answers with an [Action].
//
// A message is handed on only when it is whole, and so is its answer: a
// message either took effect or did not, and the test knows which. The
// proxies never repeat one. They change nothing but what they were told to.
package fault
