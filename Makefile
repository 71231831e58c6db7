# kl: build, test, run. `make help` lists the targets.
#
# Everything but the Go modules and Debian packages named in `debian` is in this tree. Programs that link the control
# plane are built, and tested, with CGO off and -trimpath, so that builds and tests share Go's cache.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

GO      ?= go
export GOFLAGS := -trimpath -mod=readonly -buildvcs=false
export GOTOOLCHAIN := local
export CGO_ENABLED := 0

HOSTARCH := $(shell $(GO) env GOHOSTARCH)
GOARCH   ?= $(HOSTARCH)
export GOARCH
BIN      := bin
CACHE    := .cache/payload/$(GOARCH)
PROGS    := $(CACHE)/bin
PAYLOAD  := embedded/payload
EMBED    := $(PAYLOAD)/payload_$(GOARCH)

# Debian packages: to build the payload, and to download the ones that are in it.
DEBIAN   := gcc libc6-dev libseccomp-dev ca-certificates git zstd
ifneq ($(GOARCH),$(HOSTARCH))
CROSS    := $(if $(filter arm64,$(GOARCH)),aarch64,x86_64)-linux-gnu
CC       := $(CROSS)-gcc
BIN      := bin/$(GOARCH)
DEBIAN   := gcc-$(subst _,-,$(CROSS)) libc6-dev-$(GOARCH)-cross libseccomp-dev:$(GOARCH) ca-certificates git zstd
export PKG_CONFIG_LIBDIR := /usr/lib/$(CROSS)/pkgconfig
endif
export CC
# zstd level of the payload: 19, that of releases, takes four minutes of CPU, 9 takes ten seconds and makes bin/kl 13 MB
# larger, 3 takes two seconds and makes it 21 MB larger
LEVEL   ?= 9

# VERSION is kl's; the payload is stamped with the release alone, so that a commit does not change it.
RELEASE ?= $(shell git describe --tags --abbrev=0 2>/dev/null || echo v0.1.0)
VERSION ?= $(shell git describe --tags --dirty 2>/dev/null || echo $(RELEASE)-dev+$$(git rev-parse --short=12 HEAD 2>/dev/null || echo unknown))

module-version = $(shell $(GO) list -m -f '{{with .Replace}}{{.Version}}{{else}}{{.Version}}{{end}}' $(1))
K8S        := $(call module-version,k8s.io/kubernetes)
CONTAINERD := $(call module-version,github.com/containerd/containerd/v2)
RUNC       := $(call module-version,github.com/opencontainers/runc)
CNI        := $(call module-version,github.com/containernetworking/plugins)
COREDNS    := $(call module-version,github.com/coredns/coredns)
ETCD       := $(call module-version,go.etcd.io/etcd/server/v3)
CRITOOLS   := $(call module-version,sigs.k8s.io/cri-tools)

k8s-minor   = $(word 2,$(subst ., ,$(K8S)))
k8s-ldflags = $(foreach p,k8s.io/component-base/version k8s.io/client-go/pkg/version,\
	-X $(p).gitVersion=$(K8S) -X $(p).gitMajor=1 -X $(p).gitMinor=$(k8s-minor) -X $(p).gitTreeState=clean)
# GOBUILD is `go build` that shows its progress. It runs on this machine, whatever the target.
GOBUILD  := .cache/gobuild
# NRI is disabled in nodes: without this tag, 3 MB of kl-engine would run plugins written for WebAssembly.
ENGINE_TAGS := nri_no_wasm
KL_LDFLAGS     = -s -w -X main.version=$(VERSION) -X main.etcdVersion=$(ETCD) -X main.containerdVersion=$(CONTAINERD) \
	-X main.corednsVersion=$(COREDNS) $(k8s-ldflags)
ENGINE_LDFLAGS = -s -w -X main.version=$(RELEASE) $(k8s-ldflags) \
	-X github.com/containerd/containerd/v2/version.Version=$(CONTAINERD)

# Packages that link the API server, or whose tests do. They are tested without the race detector, because compiling
# Kubernetes for it takes the better part of an hour. All others are light, also those that link containerd or CoreDNS.
BIG   := k8s.io/kubernetes/|k8s.io/apiserver/pkg/server/|go.etcd.io/etcd/server/
HEAVY = $(GO) list -test -f '{{if .ForTest}}{{.ForTest}}{{else}}{{.ImportPath}}{{end}} {{join .Deps " "}}' ./... | \
	sed -n -E '/ ($(subst /,\/,$(BIG)))/s/(\.test)? .*//p' | sort -u

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.PHONY: up
up: build ## build kl and start a cluster
	$(BIN)/kl up

.PHONY: build
build: embed ## build bin/kl, one file with the payload inside
	@$(GOBUILD) -tags payload -ldflags '$(KL_LDFLAGS)' -o $(BIN)/kl ./cmd/kl
	@ls -l $(BIN)/kl | awk '{printf "$(BIN)/kl: %.1f MB\n", $$5 / 1e6}'

.PHONY: embed
embed: payload
	@cmp -s $(BIN)/payload.tar.zst $(EMBED).tar.zst || cp $(BIN)/payload.tar.zst $(EMBED).tar.zst
	@cmp -s $(BIN)/payload.sha256 $(EMBED).sha256 || cp $(BIN)/payload.sha256 $(EMBED).sha256

# With GOARCH=arm64 on amd64, or the other way round, this needs the packages of DEBIAN above: dpkg is told about the other
# architecture, from which runc's libseccomp and the tools of a node come. Compiling everything once more takes as long as
# the first time.
.PHONY: release-payload
release-payload: ## the payload as releases carry it: smallest, and from the tested Debian packages alone
	$(MAKE) embed LEVEL=19 MKPAYLOAD_FLAGS=-strict

.PHONY: engine
engine: deps gobuild ## build bin/kl-engine alone
	@$(GOBUILD) -tags $(ENGINE_TAGS) -ldflags '$(ENGINE_LDFLAGS)' -o $(BIN)/kl-engine ./cmd/kl-engine

# The programs of a node that are built with the same tags: in one call, so that one is compiled while another is linked.
# kl's packages are compiled with them, because most are the engine's, too.
CNIPLUGINS := github.com/containernetworking/plugins/plugins
CRICTL     := sigs.k8s.io/cri-tools/cmd/crictl
TOGETHER   := ./cmd/kl-engine ./cmd/kl-init ./cmd/kl-policy ./cmd/kl-critest $(CRICTL) \
	$(addprefix $(CNIPLUGINS)/,main/ptp main/loopback ipam/host-local meta/portmap) ./cmd ./cluster/docker ./cluster/native

# Go relinks only what changed, and mkpayload packs only if a file of the payload differs.
.PHONY: payload
payload: deps gobuild ## build bin/payload.tar.zst, if one of its inputs changed
	@mkdir -p $(PROGS) $(BIN)
	@echo "building the programs of a node (the first time compiles Kubernetes: 10 to 25 minutes on two cores)"
	@$(GOBUILD) -tags $(ENGINE_TAGS) -ldflags '-s -w' -ldflags './cmd/kl-engine=$(ENGINE_LDFLAGS)' \
		-ldflags '$(CRICTL)=-s -w -X sigs.k8s.io/cri-tools/pkg/version.Version=$(CRITOOLS)' \
		-ldflags '$(CNIPLUGINS)/...=-s -w -X github.com/containernetworking/plugins/pkg/utils/buildversion.BuildVersion=$(CNI)' \
		-o $(PROGS)/ $(TOGETHER)
	@ln -f $(PROGS)/kl-engine $(BIN)/kl-engine 2>/dev/null || cp $(PROGS)/kl-engine $(BIN)/kl-engine
	@CGO_ENABLED=1 $(GOBUILD) -tags 'seccomp netgo osusergo' -ldflags '-s -w -linkmode external -extldflags -static' \
		-o $(PROGS)/runc github.com/opencontainers/runc
	@$(GOBUILD) -tags no_grpc -ldflags '-s -w -X github.com/containerd/containerd/v2/version.Version=$(CONTAINERD)' \
		-o $(PROGS)/containerd-shim-runc-v2 github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2
	@[[ $(PROGS)/pause -nt $(PAYLOAD)/pause/pause.c ]] || $(CC) -Os -s -static -Wall -Werror -o $(PROGS)/pause $(PAYLOAD)/pause/pause.c
	@GOARCH=$(HOSTARCH) $(GO) run ./$(PAYLOAD)/mkpayload -arch $(GOARCH) -bin $(PROGS) -debs $(CACHE)/debs -out $(BIN) -level $(LEVEL) \
		$(MKPAYLOAD_FLAGS) -version kl=$(RELEASE) -version kubernetes=$(K8S) -version containerd=$(CONTAINERD) \
		-version runc=$(RUNC) -version cni-plugins=$(CNI) -version coredns=$(COREDNS) -version etcd=$(ETCD) -version cri-tools=$(CRITOOLS) \
		-version go=$$($(GO) env GOVERSION)

.PHONY: gobuild
gobuild:
	@GOARCH=$(HOSTARCH) $(GO) build -o $(GOBUILD) ./$(PAYLOAD)/gobuild

.PHONY: deps
deps:
	@.ci/debian-deps $(DEBIAN)

# Packages below testdata are not part of ./...; they have tests, too. -cover prints the coverage of each package. GORACE: a program with
# the race detector waits for a second before it exits, in case a goroutine has still to race, and tests start hundreds of them.
TESTDATA := ./testdata/bench/... ./testdata/bump/... ./testdata/profile/... ./testdata/images/... ./testdata/tour/...
COVER  ?= -cover

.PHONY: test
test: deps ## run the whole test suite and print the coverage of each package
	@echo "== light packages: race detector, shuffled"
	@all=$$($(GO) list ./... $(TESTDATA)); heavy=$$($(HEAVY)); \
	light=$$(comm -23 <(sort <<<"$$all") <(sort <<<"$$heavy")); status=0; \
	CGO_ENABLED=1 GORACE=atexit_sleep_ms=50 $(GO) test -race -shuffle=on $(COVER) -timeout 20m $(TESTFLAGS) $$light || status=1; \
	if [[ -n $$heavy ]]; then \
		echo "== packages that link the control plane"; \
		$(GO) test -shuffle=on $(COVER) -ldflags '$(k8s-ldflags)' -timeout 20m $(TESTFLAGS) $$heavy || status=1; \
	fi; \
	if (( status )); then echo "== make test: FAIL"; else echo "== make test: ok"; fi; exit $$status

.PHONY: test-one
test-one: ## test one package without the race detector: make test-one PKG=./ui RUN=TestTable
	$(GO) test -ldflags '$(k8s-ldflags)' $(if $(RUN),-run '$(RUN)' -v) $(TESTFLAGS) $(or $(PKG),$(error give a package: make test-one PKG=./ui))

.PHONY: script
script: LEVEL := 3
script: build ## run one script of testdata/script: make script NAME=two_nodes DRIVER=embedded
	KL_DRIVER=$(DRIVER) KL_BIN=$(CURDIR)/$(BIN)/kl $(GO) test -tags e2e -count=1 -v -timeout 20m \
		-run 'TestScript/^$(or $(NAME),$(error give a script: make script NAME=two_nodes))$$' $(E2EFLAGS) ./cmd/kl

.PHONY: e2e scripts kltest
e2e: scripts kltest ## run the scripts of testdata/script with bin/kl, and kltest with it; KL_DRIVER is the driver, kl chooses if it is empty

scripts: build
	KL_BIN=$(CURDIR)/$(BIN)/kl $(GO) test -tags e2e -count=1 -v -timeout 60m -run TestScript $(E2EFLAGS) ./cmd/kl

kltest: build
	KL_BINARY=$(CURDIR)/$(BIN)/kl $(GO) test -tags e2e -count=1 -v -timeout 10m ./cluster/kltest

# The soak ends by itself: no round begins after SOAKTIME, and every wait has a limit.
SOAK ?= 100
.PHONY: soak
soak: build ## SOAK rounds of faults on a cluster that must lose nothing: make soak SOAK=1000 SOAKTIME=3h SOAKSEED=42
	SOAK=$(SOAK) SOAKTIME=$(SOAKTIME) SOAKSEED=$(SOAKSEED) KL_BIN=$(CURDIR)/$(BIN)/kl $(GO) test -tags e2e -count=1 -v -timeout 0 \
		-run '^TestSoak$$' $(E2EFLAGS) ./cmd/kl

# JSON keeps what was measured, in a file of its own or one of the same kl on the same machine.
BENCH = KL_BENCH_JSON='$(abspath $(or $(JSON),$(KL_BENCH_JSON)))' KL_BIN=$(CURDIR)/$(BIN)/kl $(GO) test -tags e2e -count=1

.PHONY: bench
bench: build ## measure start time beside upstream's, memory and size with bin/kl: make bench JSON=new.json BENCHFLAGS='-bench Start'
	$(BENCH) -timeout 120m -run '^$$' -bench . -benchtime 1x $(BENCHFLAGS) ./cmd/kl

.PHONY: bench-compare
bench-compare: ## say what got worse and better between two files of make bench: make bench-compare OLD=old.json NEW=new.json
	@$(GO) run ./testdata/bench compare $(foreach f,OLD NEW,'$(or $($f),$(error give two files: make bench-compare OLD=old.json NEW=new.json))')

.PHONY: bench-short
bench-short: build ## in two minutes: fail if starts got slower, compared with upstream's, than testdata/bench/ratios allows
	$(BENCH) -v -timeout 15m -run '^TestStartRatios$$' ./cmd/kl

# Go's profiles carry the names of functions, also those of a stripped program: what is profiled is what is shipped.
.PHONY: profile
profile: build ## what a start and an idle minute of each program are spent on, in bin/profile: make profile UP="--nodes 2 --driver embedded"
	@.ci/profile $(BIN)/kl $(BIN)/profile $(UP)

# What bin/dev holds: kl without a payload of its own, which uses the payload that was packed last and the kl-engine beside it.
DEV := $(BIN)/dev
.PHONY: dev-build
dev-build: gobuild
	@[[ -e $(BIN)/payload.tar.zst ]] || $(MAKE) payload LEVEL=3
	@mkdir -p $(DEV)
	@$(GOBUILD) -tags $(ENGINE_TAGS) -ldflags '$(ENGINE_LDFLAGS)' -o $(DEV)/kl-engine ./cmd/kl-engine
	@$(GOBUILD) -ldflags '$(KL_LDFLAGS)' -o $(DEV)/kl ./cmd/kl
	@ln -sf ../payload.tar.zst ../payload.sha256 $(DEV)/

.PHONY: dev
dev: dev-build ## put the changed engine into a running cluster without packing it, or start one: make dev CLUSTER=kl UP="--nodes 2"
	@.ci/dev $(DEV) $(or $(CLUSTER),kl) $(UP)

.PHONY: shell
shell: dev ## make dev, then a shell in a node: make shell NODE=n1
	@$(DEV)/kl node shell $(or $(NODE),n1) --name $(or $(CLUSTER),kl)

.PHONY: golden
golden: ## write the golden files of the tests again
	$(GO) test ./ui ./ui/kit ./cmd ./cluster/config ./cluster/service ./cluster/timeline -update
	KL_UPDATE_GOLDEN=1 $(GO) test ./cluster/policy ./embedded/node/policy

.PHONY: generate
generate: golden docs-table third-party ## write everything again that is generated and committed: golden files, README's tables and THIRD_PARTY.md

.PHONY: third-party
third-party:
	$(GO) run ./$(PAYLOAD)/thirdparty > THIRD_PARTY.md.new
	mv THIRD_PARTY.md.new THIRD_PARTY.md

# Everything else that carries a version takes it from go.mod: see module-version above.
.PHONY: bump
bump: ## move Kubernetes and the other modules to their newest releases, build, test, and say what changed: make bump BUMPFLAGS=-n
	$(GO) run ./testdata/bump $(BUMPFLAGS)

.PHONY: docs docs-table
docs: build docs-table ## draw the pictures of README from a real cluster, and write its tables of the figures and of the tour
	testdata/docs/pictures

docs-table:
	$(GO) run ./testdata/tour/mkdocs
	$(GO) run ./testdata/bench readme

.PHONY: lint
lint: ## gofmt, go vet and golangci-lint
	@.ci/lint

# goreleaser compiles kl itself, with the flags of `build`. Versions later than this one need a newer Go or modules that the
# Go module proxy does not have.
GORELEASER := github.com/goreleaser/goreleaser/v2@v2.16.0
.PHONY: release-check
release-check: ## check .goreleaser.yml
	KL_LDFLAGS='$(KL_LDFLAGS)' GOARCH= $(GO) run $(GORELEASER) check

.PHONY: release
release: ## build a release of the present tag for both architectures, as a draft on GitHub
	KL_LDFLAGS='$(KL_LDFLAGS)' GOARCH= $(GO) run $(GORELEASER) release --clean

.PHONY: clean
clean: ## remove what was built, not Go's caches
	rm -rf bin .cache dist $(PAYLOAD)/payload_*.tar.zst $(PAYLOAD)/payload_*.sha256
