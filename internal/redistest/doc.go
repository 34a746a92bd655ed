// Package redistest starts real redis-server processes for tests and breaks
// them: single servers, replicas, a Sentinel group, a three-master Cluster, and
// a TCP [Proxy] that delays, holds, loses and cuts what passes through it.
//
// # What is guaranteed
//
//   - A Start function returns when what it started answers: a server its PING,
//     a replica with its link up, Sentinels agreed with each other, a Cluster
//     with writes accepted by all three masters. If that does not happen the
//     test fails and shows the server's log.
//   - If no redis-server is installed the test fails with the one line that
//     installs it. Nothing here ever skips.
//   - Servers listen on 127.0.0.1 only, on a port that nothing else in this
//     process or in another test process takes while the test runs, not even
//     between [Server.Kill] and [Server.Restart]. Ports lie below the range
//     that Linux gives to outgoing connections.
//   - Servers persist nothing unless asked to by arguments such as
//     "--appendonly", "yes": after Kill and Restart they are empty.
//   - When [Server.Pause] returns, the server executes nothing until
//     [Server.Resume]. When Kill returns, the process is gone.
//   - All processes end with the test that started them, and on Linux also when
//     the test process itself is killed. Proxies leave no goroutine behind.
//
// # What is not
//
// The clocks of the servers are this machine's. A server is as slow as the
// machine is busy. The proxy speaks Redis (RESP2 and RESP3, pub/sub,
// replication), without TLS.
//
// Methods of Server, Proxy and Trap may be called from any goroutine. Functions
// and methods that take a testing.TB may end the test, so call them from the
// test's own goroutine.
package redistest
