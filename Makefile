# make            build/bin/open-ethereum-pool
# make demo       a chain, rigs that mine on it through the pool, and the pool paying them
# make test       all tests; RACE=1 with the race detector
# make lint       gofmt, go vet and the linters of .golangci.yml
# make bench-payouts   the figures of docs/performance.md
# make clean

GO     ?= go
BIN    := build/bin
RACE   ?=
TFLAGS := $(if $(RACE),-race) -timeout 14m

.PHONY: all demo test lint bench-payouts clean deps devnet pool

all: pool

pool:
	CGO_ENABLED=0 $(GO) build -trimpath -o $(BIN)/open-ethereum-pool .

devnet:
	cd build/devnet && CGO_ENABLED=0 $(GO) build -trimpath -o ../bin/devnet .

demo: pool devnet
	@exec $(BIN)/devnet demo --pool $(BIN)/open-ethereum-pool

deps:
	@build/install.sh redis-server

test: deps
	$(GO) test $(TFLAGS) ./...
	$(if $(RACE),$(GO) test -timeout 5m ./proxy/ethash,@true)
	cd build/devnet && $(GO) test -timeout 10m ./... # without RACE: its real proof of work takes minutes there

lint:
	@test -z "$$(gofmt -l . | tee /dev/stderr)" || { echo "gofmt would change the files above" >&2; exit 1; }
	$(GO) vet ./... && cd build/devnet && $(GO) vet ./...
	cd build/tools && $(GO) build -o ../bin/golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	$(BIN)/golangci-lint run ./...
	cd build/devnet && ../bin/golangci-lint run --config ../../.golangci.yml ./...

bench-payouts: deps
	$(GO) test ./build/e2e -run '^$$' -bench 'Payouts|Plan' -benchtime 1x -timeout 30m

clean:
	rm -rf $(BIN) build/out
