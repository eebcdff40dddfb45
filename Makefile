# SPDX-License-Identifier: GPL-2.0-only
# Every goal is a command: one file in scripts/commands. `make help` lists them.
.DEFAULT_GOAL := all
.NOTPARALLEL:

# No shell reads what the command line sets, and make does not expand it: NAME=VALUE is
# LVS_SNAT_NAME in the program's environment, to the byte but for blanks in front. A name
# that it does not know is refused there, those of this file included.
SET := $(foreach name,$(.VARIABLES),$(if $(filter command line,$(origin $(name))),$(name)))
$(foreach name,$(SET),$(eval unexport $(name))$(eval export LVS_SNAT_$(name) := $$(value $(name))))

# An npm package would write what it does among the messages.
unexport DEBUG

override COMMANDS := $(basename $(notdir $(wildcard scripts/commands/*.ts)))
override NPM_DONE := node_modules/.package-lock.json
override MAIN := node_modules/.lvs-snat/main.mjs
override SOURCES := $(firstword $(shell find Makefile scripts vm test/e2e -type f -exec sha256sum {} + | LC_ALL=C sort | sha256sum))

.PHONY: $(COMMANDS)
$(COMMANDS): $(MAIN)
	@node $(MAIN) $@

$(COMMANDS:=-help): %-help: $(MAIN)
	@node $(MAIN) $* --help

# Most of a run that has nothing to do is Node finding modules: so they are one file, packages
# too. It says at its beginning which sources it is of, because a source may be replaced by one with
# an older time (rsync -a, a restored copy). Links are none: an editor's lock is one that leads nowhere.
# It is made aside: another make of this checkout may be about to read it. What only one command needs stays outside.
ifeq (,$(findstring $(SOURCES),$(shell head -n 1 $(MAIN) 2>&1)))
.PHONY: $(MAIN)
endif
$(MAIN): $(NPM_DONE)
	@aside=$(@D).$$$$ && node_modules/.bin/esbuild scripts/main.ts --outdir=$$aside --bundle --platform=node --format=esm --external:vega \
		--out-extension:.js=.mjs --sourcemap --sources-content=false --log-level=warning \
		--banner:js='import { createRequire as requireOf } from "node:module"; const require = requireOf(import.meta.url); // of $(SOURCES)' && \
		mkdir -p $(@D) && mv $$aside/main.mjs.map $$aside/main.mjs $(@D) && rmdir $$aside

# What make prints is a command's result, which shells read: npm has stderr. Of several makes one installs; the others wait, and find it done.
$(NPM_DONE): package.json package-lock.json
ifeq ($(value LVS_SNAT_SETUP),no)
	@echo "error: npm packages are missing; install them: npm ci" >&2; exit 3
else
	@command -v npm >/dev/null || { echo "error: npm is missing; install it (Debian and Ubuntu: apt install nodejs npm)" >&2; exit 3; }
	@flock .npm-ci.lock sh -c '[ $@ -nt package.json ] && [ $@ -nt package-lock.json ] || npm ci >&2'
endif
