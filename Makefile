# Everything a newcomer or CI runs; the work is in scripts/ and in the npm scripts.
# `make help` lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -o errexit -o nounset -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

sources := $(shell find src test bench -name '*.ts' 2>/dev/null) tsconfig.json
shell_scripts := $(wildcard scripts/*.sh entrypoint/*) .ci/run images/outer/files/usr/local/bin/ums

.PHONY: help setup deps build generate lint unit verify image fixtures ready test test-faults demo \
  soak bench clean

help: ## Lists the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

setup: ## Installs what the machine lacks (apt) and starts a container engine if none answers
	@scripts/setup.sh

deps: node_modules/.package-lock.json ## Installs the npm packages of the lockfile

# npm writes this file at the end of an installation. It may keep the older date of a package, hence
# the touch.
node_modules/.package-lock.json: package-lock.json
	npm ci --no-audit --no-fund
	@touch $@

build: dist/.built ## Compiles TypeScript into dist/

dist/.built: node_modules/.package-lock.json $(sources)
	npm run --silent build
	@touch $@

generate: deps ## Makes src/gen/ from proto/
	npm run --silent generate

lint: deps ## Checks style: TypeScript (biome), protocol (buf), shell (shellcheck, where installed)
	npm run --silent lint
	@if command -v shellcheck >/dev/null; then shellcheck -x -P . $(shell_scripts); \
	  else echo "lint: shellcheck is not installed, shell scripts were not checked"; fi

unit: build ## Runs the unit tests: no root, no engine, seconds
	node --enable-source-maps dist/test/run.js unit

verify: build lint generate unit ## What must pass before a commit
	@git diff --exit-code --stat -- src/gen

image: build ## Builds ums/outer:latest
	@scripts/outer-image.sh

fixtures: ## Builds ums-fixture/*:latest, the nested services of the tests
	@scripts/fixture-images.sh

# In this order, also under `make -j`: npm compiles with what setup installs.
ready:
	@$(MAKE) setup
	@$(MAKE) deps
	@$(MAKE) build
	@$(MAKE) image
	@$(MAKE) fixtures

test: ready ## Sets up all it needs and runs every test
	node --enable-source-maps dist/test/run.js unit integration e2e conformance

test-faults: ready ## Runs the fault matrix (docs/fault-matrix.md); its subset is in `make test`
	node --enable-source-maps dist/test/faults/main.js

demo: ready ## Sets up all it needs and moves a live Redis between two outer containers
	@node --enable-source-maps dist/test/demo/main.js

soak: ready ## Moves a service SOAK_MOVES times (200) between three outer containers; finds leaks
	@node --enable-source-maps dist/test/soak/main.js

bench: ready ## Measures migrations and the paper's method beside them; writes bench/results.json
	node --enable-source-maps dist/bench/main.js
	node --enable-source-maps dist/bench/relay.js

clean: ## Removes what was built: dist/, build/, our images and the containers made from them
	@scripts/clean.sh
