# Every goal is a command: one file in scripts/commands. `make help` lists them.
.DEFAULT_GOAL := all
.NOTPARALLEL:

COMMANDS := $(basename $(notdir $(wildcard scripts/commands/*.ts)))
MAIN := node --import tsx scripts/main.ts
NPM_DONE := node_modules/.package-lock.json

.PHONY: $(COMMANDS)
$(COMMANDS): $(NPM_DONE)
	@$(MAIN) $@ $(MAKEOVERRIDES)

%-help: $(NPM_DONE)
	@$(MAIN) $* --help

$(NPM_DONE): package.json package-lock.json
ifeq ($(SETUP),no)
	@echo "error: npm packages are missing; install them: npm ci" >&2; exit 3
else
	npm ci
endif
