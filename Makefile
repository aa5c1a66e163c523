# `make help` lists what is here.
SHELL := /bin/bash
export CGO_ENABLED := 0
export GOFLAGS := -buildvcs=false
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
ARCH ?= $(shell go env GOARCH)
SUFFIX := $(if $(filter $(ARCH),$(shell go env GOHOSTARCH)),,-$(ARCH))
COMMIT ?= $(shell git rev-parse --short HEAD 2>/dev/null)
BUILT ?= $(shell date -u -d "@$${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct 2>/dev/null || echo 0)}" +%Y-%m-%dT%H:%M:%SZ)
LDFLAGS := -s -w -X nau/internal/cluster/version.version=$(VERSION) -X nau/internal/cluster/version.commit=$(COMMIT) -X nau/internal/cluster/version.built=$(BUILT)
RUN ?=
FOCUS ?=

.PHONY: help build up down test unit e2e clients vm vm-oci conformance bench lint fmt

help: ## this list
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## bin/nau with nau-oci embedded (ARCH=arm64 cross-builds)
	GOARCH=$(ARCH) go build -trimpath -ldflags '-s -w$(if $(filter amd64,$(ARCH)), -E _nau_oci_entry)' -o bin/nau-oci$(SUFFIX) ./cmd/nau-oci
	rm -f cmd/nau/embedded/nau-oci
	go run ./cmd/nau/pack bin/nau-oci$(SUFFIX) cmd/nau/embedded/nau-oci.zst
	cp go.sum bin/link.sum
	(cat go.mod; echo 'replace github.com/google/go-cmp => ./cmd/nau/_cmp') >bin/link.mod
	GOARCH=$(ARCH) go build -modfile=bin/link.mod -trimpath -tags grpcnotrace -ldflags '$(LDFLAGS)' -o bin/nau$(SUFFIX) ./cmd/nau

up: build ## build, start a cluster on this machine, say what to type next
	bin/nau up -d

down: ## stop it, and its containers
	bin/nau down

test: ## everything: unit tests, then end to end as root with the stock kubectl and docker
	./test/run.sh all

unit: ## unit tests only: no root, no network
	./test/run.sh unit

e2e: ## end-to-end tests only (RUN=regexp picks some)
	RUN='$(RUN)' ./test/run.sh e2e

vm: build ## cgroup version 2 and loss of power in an emulated machine, minutes, not part of test (needs qemu-system-x86 and linux-image-cloud-amd64)
	go test -tags vm -count=1 -v -timeout 40m $(if $(RUN),-run '$(RUN)',-skip TestOCIValidation) ./test/vm

vm-oci: ## OCI's validation programs in such a machine beside runc and crun, half an hour; PROGRAM=expression for some of them (needs runc, crun, apparmor too)
	go test -tags vm -count=1 -v -timeout 90m -run '$(or $(RUN),TestOCIValidation)' ./test/vm

clients: ## the stock clients that some end-to-end tests want (Compose, crictl, Testcontainers, …), built once from their modules
	./test/clients/build.sh --all

conformance: build ## the upstream suite (FOCUS=regexp) against a cluster on this machine
	FOCUS='$(FOCUS)' ./test/conformance/run.sh

bench: build ## every number the project promises, as tables, beside a peer where one is at hand
	./test/bench/run.sh

lint: ## gofmt, vet, staticcheck
	@out=$$(gofmt -l cmd internal test); [ -z "$$out" ] || { echo "gofmt these: $$out"; exit 1; }
	go vet ./...
	go run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...

fmt: ## gofmt everything
	gofmt -w cmd internal test
