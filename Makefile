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

# Debian packages: to build the payload, and to fetch the ones that are in it.
DEBIAN   := gcc libc6-dev libseccomp-dev ca-certificates git zstd
ifneq ($(GOARCH),$(HOSTARCH))
CROSS    := $(if $(filter arm64,$(GOARCH)),aarch64,x86_64)-linux-gnu
CC       := $(CROSS)-gcc
BIN      := bin/$(GOARCH)
DEBIAN   := gcc-$(subst _,-,$(CROSS)) libc6-dev-$(GOARCH)-cross libseccomp-dev:$(GOARCH) ca-certificates git zstd
export PKG_CONFIG_LIBDIR := /usr/lib/$(CROSS)/pkgconfig
endif
export CC
# zstd level of the payload: 19 takes minutes of CPU, 3 takes seconds and makes bin/kl 20 MB larger (LEVEL=3 make build)
LEVEL   ?= $(if $(CI),3,19)

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

k8s-minor   = $(word 2,$(subst ., ,$(K8S)))
k8s-ldflags = $(foreach p,k8s.io/component-base/version k8s.io/client-go/pkg/version,\
	-X $(p).gitVersion=$(K8S) -X $(p).gitMajor=1 -X $(p).gitMinor=$(k8s-minor) -X $(p).gitTreeState=clean)
KL_LDFLAGS     = -s -w -X main.version=$(VERSION) -X main.etcdVersion=$(ETCD) -X main.containerdVersion=$(CONTAINERD) \
	-X main.corednsVersion=$(COREDNS) $(k8s-ldflags)
ENGINE_LDFLAGS = -s -w -X main.version=$(RELEASE) $(k8s-ldflags) \
	-X github.com/containerd/containerd/v2/version.Version=$(CONTAINERD)

# Packages that link, or whose tests link, the control plane or another of the big programs: tested without the race
# detector, whose build of them takes the better part of an hour.
BIG   := k8s.io/kubernetes/|k8s.io/apiserver/|go.etcd.io/etcd/server/|github.com/containerd/containerd/v2/|github.com/coredns/coredns/
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
	$(GO) build -tags payload -ldflags '$(KL_LDFLAGS)' -o $(BIN)/kl ./cmd/kl
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
engine: deps ## build bin/kl-engine alone
	$(GO) build -ldflags '$(ENGINE_LDFLAGS)' -o $(BIN)/kl-engine ./cmd/kl-engine

# Go relinks only what changed, and mkpayload packs only if a file of the payload differs.
.PHONY: payload
payload: deps ## build bin/payload.tar.zst, if one of its inputs changed
	@mkdir -p $(PROGS) $(BIN)
	@echo "building the programs of a node (the first time compiles Kubernetes: about 25 minutes on two cores)"
	$(GO) build -ldflags '$(ENGINE_LDFLAGS)' -o $(PROGS)/kl-engine ./cmd/kl-engine
	@ln -f $(PROGS)/kl-engine $(BIN)/kl-engine 2>/dev/null || cp $(PROGS)/kl-engine $(BIN)/kl-engine
	$(GO) build -ldflags '-s -w' -o $(PROGS)/kl-init ./cmd/kl-init
	$(GO) build -ldflags '-s -w' -o $(PROGS)/kl-policy ./cmd/kl-policy
	CGO_ENABLED=1 $(GO) build -tags 'seccomp netgo osusergo' -ldflags '-s -w -linkmode external -extldflags -static' \
		-o $(PROGS)/runc github.com/opencontainers/runc
	$(GO) build -tags no_grpc -ldflags '-s -w -X github.com/containerd/containerd/v2/version.Version=$(CONTAINERD)' \
		-o $(PROGS)/containerd-shim-runc-v2 github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2
	@for p in main/ptp main/loopback ipam/host-local meta/portmap; do \
		$(GO) build -ldflags '-s -w -X github.com/containernetworking/plugins/pkg/utils/buildversion.BuildVersion=$(CNI)' \
			-o $(PROGS)/$${p#*/} github.com/containernetworking/plugins/plugins/$$p; done
	@[[ $(PROGS)/pause -nt $(PAYLOAD)/pause/pause.c ]] || $(CC) -Os -s -static -Wall -Werror -o $(PROGS)/pause $(PAYLOAD)/pause/pause.c
	@GOARCH=$(HOSTARCH) $(GO) run ./$(PAYLOAD)/mkpayload -arch $(GOARCH) -bin $(PROGS) -debs $(CACHE)/debs -out $(BIN) -level $(LEVEL) \
		$(MKPAYLOAD_FLAGS) -version kl=$(RELEASE) -version kubernetes=$(K8S) -version containerd=$(CONTAINERD) \
		-version runc=$(RUNC) -version cni-plugins=$(CNI) -version coredns=$(COREDNS) -version etcd=$(ETCD) \
		-version go=$$($(GO) env GOVERSION)

.PHONY: deps
deps:
	@.ci/debian-deps $(DEBIAN)

.PHONY: test
test: deps ## run the whole test suite
	@echo "== light packages: race detector, shuffled"
	@all=$$($(GO) list ./...); heavy=$$($(HEAVY)); \
	light=$$(comm -23 <(sort <<<"$$all") <(sort <<<"$$heavy")); status=0; \
	CGO_ENABLED=1 $(GO) test -race -shuffle=on $(TESTFLAGS) $$light || status=1; \
	if [[ -n $$heavy ]]; then \
		echo "== packages that link the control plane"; \
		$(GO) test -shuffle=on -ldflags '$(k8s-ldflags)' -timeout 20m $(TESTFLAGS) $$heavy || status=1; \
	fi; \
	if (( status )); then echo "== make test: FAIL"; else echo "== make test: ok"; fi; exit $$status

.PHONY: e2e
e2e: build ## run the scripts of testdata/script with bin/kl and a real Docker engine
	KL_BIN=$(CURDIR)/$(BIN)/kl $(GO) test -tags e2e -count=1 -v -timeout 60m -run TestScript $(E2EFLAGS) ./cmd/kl
	KL_BINARY=$(CURDIR)/$(BIN)/kl $(GO) test -tags e2e -count=1 -v -timeout 10m ./cluster/kltest

.PHONY: bench
bench: build ## measure start time, memory and size with bin/kl
	KL_BIN=$(CURDIR)/$(BIN)/kl $(GO) test -tags e2e -count=1 -timeout 60m -run '^$$' -bench . -benchtime 1x $(BENCHFLAGS) ./cmd/kl

.PHONY: golden
golden: ## write the golden files of the tests again
	$(GO) test ./ui/... ./cmd/... -update

.PHONY: docs
docs: build ## write THIRD_PARTY.md again, and draw the pictures of README from a real cluster
	$(GO) run ./$(PAYLOAD)/thirdparty > THIRD_PARTY.md.new
	mv THIRD_PARTY.md.new THIRD_PARTY.md
	testdata/docs/pictures

.PHONY: lint
lint: ## gofmt, go vet, and golangci-lint or staticcheck
	@.ci/lint

.PHONY: clean
clean: ## remove what was built, not Go's caches
	rm -rf bin .cache dist $(PAYLOAD)/payload_*.tar.zst $(PAYLOAD)/payload_*.sha256
