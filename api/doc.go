// Package api is what browsers, phones and monitoring read. It never writes
// money, and pool-wide answers never wait for Redis:
//
//		books → cycle → snapshot → answers in memory → requests
//
//	  - cycle.go reads the books once each statsCollectInterval and makes a
//	    snapshot; hashrate.go, rewards.go and days.go are what it remembers between
//	    cycles.
//	  - views.go turns rows into view.go, the JSON of every route; why a miner is
//	    not paid is decided there. answer.go encodes it once and serves it often.
//	  - account.go makes answers about one miner on demand and keeps them in a
//	    bounded part of memory; csv.go writes tables in pieces.
//	  - server.go has the routes and the process' life, conn.go its connections;
//	    events.go tells listeners what changed; pages.go serves the files of package
//	    www; monitor.go is for Prometheus.
//
// The description of the routes is openapi.json; a test keeps it complete.
package api
