# `make help` lists the targets. `make demo` and `make test` need nothing before them but make and Python 3.13.
#
# Four environments, each locked with hashes and rebuilt when its lock changes:
#   .venv            what the project is developed and tested with, and the SAM CLI
#   .envs/emulator   the AWS emulator, which pins botocore
#   .envs/checks     checkov, which pins many packages, and the other tools that only `make check` needs
#   .envs/lambda     a bare Python in which the functions run, so that a dependency missing in a layer is noticed
# In .envs/bootstrap pip installs uv, and uv makes the other environments.

PORT ?= 4566
export PORT
export UV_PYTHON_DOWNLOADS = never
# The certificates that this machine trusts, as pip does where they are configured: a proxy may have one of its own.
export UV_SYSTEM_CERTS = true
# Where Python may not keep the bytecode that it compiles, each start of a command compiles all packages again.
unexport PYTHONDONTWRITEBYTECODE

PYTHON := .venv/bin/python
BOOTSTRAP := .envs/bootstrap/bin
UV := $(BOOTSTRAP)/uv
ENVIRONMENTS := .venv .envs/emulator .envs/lambda
# Two processes of pytest, since two cores are the least that a machine has.
UNIT := $(PYTHON) -m tests.unit
# A process for each of the stacks that the tests share: the processes spend much of their time waiting.
INTEGRATION := $(PYTHON) -m tests.integration
LOCKS := requirements-dev.in $(wildcard local/*.in layers/*/requirements.in)

.PHONY: help environments demo simulate test unit integration proof check coverage bench up down redrive charging lock clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: environments ## show renewals as they happen, from nothing to receipts and mails; then stop everything
	@$(PYTHON) -m local.demo

simulate: environments ## a hostile year in minutes, judged at its end; DAYS, SUBSCRIPTIONS, SEED=1 say how much, and which
	@DAYS=$(DAYS) SUBSCRIPTIONS=$(SUBSCRIPTIONS) SEED=$(SEED) DISPUTED=$(DISPUTED) $(PYTHON) -m local.simulate

test: environments ## all tests but those of `make proof`: integration on the deployed stacks, and unit beside them
	@$(UNIT) $(INTEGRATION)

unit: .venv/.made ## the fast tests, in two processes: no connection beyond this machine, no emulator
	@$(UNIT)

integration: environments ## the tests on the built and deployed stacks, of the sandbox gateway, and in a browser
	@$(INTEGRATION)

proof: environments ## the large numbers behind the promises, in an hour: tests marked `proof`, which `make test` leaves out
	@$(PYTHON) -m pytest tests/unit tests/integration -m proof --timeout 3600

check: $(UV) ## linters, types, template, workflow, and what guards them
	@$(MAKE) --silent --jobs 2 .venv/.made .envs/checks/.made
	@scripts/check.sh

coverage: .venv/.made ## which part of src the unit tests run, branches too: the least covered files first, then the total
	@rm -rf .local/coverage && mkdir -p .local/coverage
	@$(PYTHON) -m coverage run -m tests.unit
	@$(PYTHON) -m coverage combine --quiet
	@$(PYTHON) -m coverage report

bench: environments ## measure speed, size, growth and cost; write docs/performance.md and docs/cost.md
	@$(PYTHON) -m benchmarks

up: environments ## start the local stack on PORT (4566), deploy to it, and leave it running
	@$(PYTHON) -m local.stack up

down: .venv/.made ## stop the local stack on PORT
	@$(PYTHON) -m local.stack down

STACK ?= subscription-mgmt
redrive: .venv/.made ## bring dead letters back to the queue of renewals, by your AWS profile; STACK names another stack
	@$(PYTHON) -m scripts.subscriptions --stack-name $(STACK) redrive

charging: .venv/.made ## turn charging off at once, or on again: TURN=off WHY="…", TURN=on, TURN=status; STACK as above
	@$(PYTHON) -m scripts.oncall --stack-name $(STACK) charging $(TURN) --why "$(WHY)"

# The development lock comes first: the locks of the layers take their versions from it. The gateway's SDK is locked
# without its HTTP client, because the SDK runs over the urllib3 of the AWS layer; fpdf2 without its reader of images.
UPGRADE ?=
lock: $(UV) ## write every requirements lock anew; versions stay, unless UPGRADE=--upgrade takes the newest
	@for source in $(LOCKS); do \
		echo "$$source"; \
		case "$$source" in layers/*) from="--constraint requirements-dev.txt";; *) from="$(UPGRADE)";; esac; \
		case "$$source" in \
			layers/payment/*) less=--no-deps;; layers/receipt/*) less="--no-emit-package pillow";; *) less=;; esac; \
		$(UV) pip compile --quiet --universal --python $(BOOTSTRAP)/python3.13 --generate-hashes --no-header \
			--no-annotate --no-emit-index-url $$from $$less --output-file "$${source%.in}.txt" "$$source" || exit 1; \
	done

clean: ## stop every local stack of this checkout and delete all that was made
	@for stack in .local/[0-9]*; do \
		[ ! -f "$$stack/running.json" ] || PORT="$${stack#.local/}" $(PYTHON) -m local.stack down || exit 1; \
	done
	@rm -rf .local .aws-sam .venv .envs node_modules demo-output simulation-output .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A few at a time: an environment is mostly waiting for the index and the disk.
environments: $(UV)
	@$(MAKE) --silent --jobs 4 $(ENVIRONMENTS:%=%/.made)

$(UV): local/requirements-uv.txt
	@python=$$(scripts/find_python.sh) && echo "making the environments with $$python" \
		&& rm -rf .envs/bootstrap && "$$python" -m venv .envs/bootstrap \
		&& $(BOOTSTRAP)/python -m pip install --quiet --disable-pip-version-check --require-hashes \
			--requirement local/requirements-uv.txt
	@touch $@

# $(call make_environment,folder,lock)
define make_environment
	@echo "making $(1)"
	@$(UV) venv --quiet --clear --python $(BOOTSTRAP)/python3.13 $(1)
	@$(UV) pip sync --quiet --require-hashes --python $(1)/bin/python $(2) || { \
		echo "$(2) could not be installed. Behind a mirror, name it in UV_DEFAULT_INDEX: uv does not read pip's settings." >&2; \
		exit 1; }
	@touch $(1)/.made
endef

.venv/.made: requirements-dev.txt $(UV)
	$(call make_environment,.venv,$<)

.envs/emulator/.made: local/requirements-emulator.txt $(UV)
	$(call make_environment,.envs/emulator,$<)

.envs/checks/.made: local/requirements-checks.txt $(UV)
	$(call make_environment,.envs/checks,$<)

.envs/lambda/.made: $(UV)
	@$(UV) venv --quiet --clear --python $(BOOTSTRAP)/python3.13 $(@D)
	@touch $@

node_modules/.made: package-lock.json
	@npm ci --silent --no-audit --no-fund
	@touch $@
