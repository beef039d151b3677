# make            build/bin/open-ethereum-pool
# make www        the pages inside it; needs Node, which it installs where it may
# make demo       a chain, rigs that mine on it through the pool, and the pool paying them
# make test       all tests; RACE=1 with the race detector
# make lint       the linters of .golangci.yml, go vet and gofmt among them
# make bench      one table: what shares, connections and new jobs cost, beside the existing pools
# make prove      that nobody is paid twice and nobody goes unpaid: the simulation over many
#                 seeds and every sweep, for docs/proof.md; PROVE="-seeds 100000" for more
# make bench-payouts   what payouts cost
# make clean

GO     ?= go
# One set of flags for all, so that nothing is compiled twice. simd: the verifier's
# vectors, see proxy/ethash/avx2.go; without them the pool works, and is slower.
export CGO_ENABLED  := 0
export GOEXPERIMENT := simd
export GOFLAGS      += -trimpath
BIN    := build/bin
RACE   ?=
TFLAGS := -timeout 14m
# What has but one thread, or only watches processes, has no races to detect. The
# verifier is tested with its vectors here, and without them elsewhere.
QUIET  := payouts/sim build/e2e proxy/ethash
# The race detector needs cgo; gofuzz tells go-ethereum to do without it all the same,
# as the pool does.
RACING := CGO_ENABLED=1 GOEXPERIMENT= $(GO) test -race -tags gofuzz
# Modules of their own, whose dependencies the pool does not have.
MODULES := devnet bench browser
PAGES  := $(shell find www/src -type f) $(addprefix www/,package.json package-lock.json .npmrc build.mjs build.sh)

.PHONY: all demo test test-packages test-world lint prove bench bench-payouts clean deps devnet pool www

all: pool

pool: www
	$(GO) build -o $(BIN)/open-ethereum-pool .

www: www/dist/index.html

www/dist/index.html: $(PAGES)
	@www/build.sh

devnet:
	cd build/devnet && $(GO) build -o ../bin/devnet .

demo: pool devnet
	@exec $(BIN)/devnet demo --pool $(BIN)/open-ethereum-pool

deps:
	@build/install.sh redis-server chromium

# Two at a time: the one is busy computing, the other mostly waits for blocks.
test: deps www
	@$(MAKE) --no-print-directory -j2 test-packages test-world

test-packages:
	$(if $(RACE),$(RACING) -short,$(GO) test) $(TFLAGS) $$($(GO) list ./... | grep -v $(QUIET:%=-e %$$))
	$(if $(RACE),$(RACING),GOEXPERIMENT= $(GO) test) -timeout 10m ./proxy/ethash # without vectors

test-world:
	$(GO) test $(if $(RACE),-short) $(TFLAGS) ./build/e2e
	$(GO) test $(TFLAGS) ./payouts/sim ./proxy/ethash
	@www/build.sh test
	cd build/browser && $(GO) test -count 1 -timeout 10m ./... # the pages are not among what go knows to have changed
	cd build/devnet && $(GO) test -timeout 10m ./... # without RACE: its real proof of work takes minutes there

lint:
	cd build/tools && $(GO) build -o ../bin/golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	$(BIN)/golangci-lint run ./...
	for module in $(MODULES); do (cd build/$$module && ../bin/golangci-lint run --config ../../.golangci.yml ./...) || exit 1; done

prove: # all that the tests try in part
	@build/install.sh redis-server
	$(GO) run ./build/prove -doc docs/proof.md $(PROVE)

bench: pool deps
	@cd build/bench && $(GO) run . -pool ../$(notdir $(BIN))/open-ethereum-pool

bench-payouts: deps
	$(GO) test ./build/e2e -run '^$$' -bench 'Payouts|Plan' -benchtime 1x -timeout 30m

clean:
	rm -rf $(BIN) build/out www/node_modules
	find www/dist -type f ! -name .keep -delete
