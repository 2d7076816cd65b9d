# make            build the program
# make demo       a home in namespaces with a console that asks for ports, until Ctrl-C
# make test       everything that must pass: tools installed, lint, all targets and their sizes, all tests
# make lint       the part of it that runs nothing
# make fuzz       each fuzz target for FUZZTIME
# make bench      portreeve and Debian's miniupnpd side by side, in 20 minutes; with QUICK=1 in two, to see that it works;
#                 with PAGE=docs/performance.md the tables of that page are replaced
# make build-all  the program for every kind of router

GO       ?= go
FUZZTIME ?= 10s

# What nobody uses is left out: MessagePack of gin, and HTTP/2, which browsers speak over TLS only.
BUILD = CGO_ENABLED=0 $(GO) build -tags nomsgpack,nethttpomithttp2 -trimpath -ldflags '-s -w'

.PHONY: all build build-all demo test lint fuzz bench clean

all: build

build:
	$(BUILD) -o build/portreeve ./cmd/portreeve

build-all:
	GOOS=linux GOARCH=amd64 $(BUILD) -o build/portreeve-linux-amd64 ./cmd/portreeve
	GOOS=linux GOARCH=arm64 $(BUILD) -o build/portreeve-linux-arm64 ./cmd/portreeve
	GOOS=linux GOARCH=arm GOARM=5 $(BUILD) -o build/portreeve-linux-arm ./cmd/portreeve
	GOOS=linux GOARCH=mipsle GOMIPS=softfloat $(BUILD) -o build/portreeve-linux-mipsle ./cmd/portreeve

# Built first and then run: "go run" would not hand over a signal, nor the exit code.
demo:
	scripts/install-debian demo
	$(GO) build -tags nomsgpack -o build/demo ./test/demo
	build/demo

# The tests come last so that the output ends with the lines of go test. A program
# that was built with -race waits a second when it ends, for nothing here. Tests in
# network namespaces mostly wait, so more of them run side by side than there are
# processors.
test:
	scripts/install-debian test
	scripts/lint
	$(MAKE) --no-print-directory build-all
	scripts/size build/portreeve-linux-*
	GORACE=atexit_sleep_ms=0 $(GO) run ./test/noskip -race -shuffle=on -count=1 -parallel=4 -timeout=15m -tags nomsgpack ./...

lint:
	scripts/lint

fuzz:
	scripts/fuzz $(FUZZTIME)

bench: build
	scripts/install-debian bench
	$(GO) build -tags nomsgpack -o build/bench ./test/bench
	build/bench $(if $(QUICK),-quick) $(if $(PAGE),-page $(PAGE))

clean:
	rm -rf build

# install and uninstall
-include deploy/install.mk
