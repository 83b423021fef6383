# `make demo` and `make test` set themselves up on a fresh machine; `make help` lists the rest.
PYTHON ?= python3
SHELL := /bin/bash
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg

.PHONY: help demo demo-clean lab test suites lint types unit roles mutants labs integration corpus rounds e2e molecule molecule-all faults endurance kills faults-clean hangs lifecycle field distributions hardening scripts image console monitoring pages pictures lock readmes docs release bench bench-image gpu-stand-in test-gpu clean
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

.venv/.installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; say PYTHON=..." if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv .venv || { echo "Python's venv is missing: apt-get install python3-venv" >&2; exit 1; }
	@echo "Installing Ansible into .venv ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

.venv/.tested: .venv/.installed tests/requirements.txt docs/requirements.txt training/requirements.txt
	@echo "Installing the test tools into .venv ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	@touch $@

.venv/.documented: .venv/.installed docs/requirements.txt
	@echo "Installing what builds the pages into .venv ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r docs/requirements.txt
	@touch $@

.venv/.pages: .venv/.tested tests/pages/requirements.txt tests/pages/package.json
	@command -v chromium chromium-browser google-chrome >/dev/null || { echo "Chromium is not installed: apt-get install chromium" >&2; exit 1; }
	@command -v npm >/dev/null || { echo "npm is not installed: apt-get install npm" >&2; exit 1; }
	@echo "Installing what looks at the pages into .venv ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r tests/pages/requirements.txt
	@mkdir -p .venv/pages && cp tests/pages/package.json .venv/pages/
	@npm install --prefix .venv/pages --silent --no-audit --no-fund --no-package-lock
	@touch $@

lab: .venv/.installed ## two lab hosts on this machine, without anything on them
	ansible-playbook -i localhost, playbooks/lab.yml

demo: lab ## the whole way: two lab hosts, Docker, swarm, image, check, training, results
	ansible-playbook -i .lab/inventory.yml site.yml -e training_wait_for=complete
	@echo
	@echo "Results:       artifacts/simple-training/"; ls artifacts/simple-training
	@echo "Again:         $(BIN)/ansible-playbook -i .lab/inventory.yml site.yml   (says \"nothing to change\")"
	@echo "Look:          ./ddp status, ./ddp watch, ./ddp report"
	@echo "Remove:        make demo-clean"

demo-clean: .venv/.installed ## remove the lab's hosts, disks and network, and nothing else
	ansible-playbook -i localhost, playbooks/lab.yml -e lab_state=absent

# What a landing need not see runs nightly (.github/workflows/test.yml).
LABS := labs
BESIDE := lint unit roles molecule

# Labs wait more than they compute. What needs no host runs beside them, and leaves them the cores; then molecule's own labs do.
test: .venv/.tested ## what every change must pass; says at its end how long each suite took
	@( nice -n 5 $(MAKE) --no-print-directory suites SUITES='$(BESIDE)' >.suites.log 2>&1 || { tail -n 150 .suites.log; exit 1; } ) & beside=$$!; \
	$(MAKE) --no-print-directory suites SUITES='$(LABS)'; labs=$$?; \
	wait $$beside; beside=$$?; [ $$beside != 0 ] || tail -n $(words $(BESIDE)) .suites.log; exit $$((labs || beside))

suites: .venv/.tested
	@set -e; trap 'printf "$$took"' EXIT; for suite in $(SUITES); do began=$$SECONDS; $(MAKE) --no-print-directory $$suite; \
	  took+="$$(printf '%-12s %5d s' $$suite $$((SECONDS - began)))\n"; done

lint: .venv/.tested ## ansible-lint, yamllint, ruff, mypy
	yamllint .
	ruff check .
	ruff format --check .
	$(MAKE) --no-print-directory types
	ansible-lint --profile production --offline

types: .venv/.tested ## mypy alone
	MYPYPATH=collections mypy -p ansible_collections.ddp.swarm.plugins -p console
	mypy docs/pages.py
	MYPYPATH=training mypy -p ddp_trainer -m training_code
	MYPYPATH=roles/preflight/files/probe mypy roles/preflight/files/probe
	mypy --explicit-package-bases --namespace-packages examples
	MYPYPATH=roles/training/files/launcher mypy roles/training/files/launcher
	MYPYPATH=roles/monitoring/files/exporter mypy roles/monitoring/files/exporter

unit: .venv/.tested ## modules, template, trainer and probe; no hosts needed
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile --durations 12 --durations-min 10 tests/unit

roles: .venv/.tested ## roles and playbooks on this machine, with stand-ins for docker and systemctl; no hosts needed
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile --durations 12 --durations-min 10 tests/roles

mutants: .venv/.tested ## MUTANTS=300 small mistakes, one at a time: do the unit tests notice? FILES=, TESTS=, SEED=, MINUTES=60, JOBS=2
	$(BIN)/python tests/mutants/run.py

# The last of them hides a host's disk from its engine.
labs: .venv/.tested ## e2e and integration, on one lab
	$(BIN)/python -m pytest --durations 12 --durations-min 20 tests/e2e/test_site.py tests/e2e/test_site_again.py \
	  tests/integration --ignore tests/integration/test_corpus.py tests/e2e/test_site_faults.py

integration: .venv/.tested ## the module swarm_stack on a real swarm of two engines
	$(BIN)/python -m pytest --durations 8 --durations-min 20 --ignore tests/integration/test_corpus.py tests/integration

corpus: .venv/.tested ## the stack files in tests/compose on a real swarm, deployed, the same again, and changed
	$(BIN)/python -m pytest tests/integration/test_corpus.py

rounds: .venv/.tested ## thirty times a stack deployed and removed, and nothing left
	DDP_ROUNDS=30 $(BIN)/python -m pytest tests/integration -k rounds

e2e: .venv/.tested ## the playbooks on a lab of their own, driven through ansible-runner
	$(BIN)/python -m pytest --durations 8 --durations-min 20 tests/e2e

SCENARIOS ?= docker training

molecule: .venv/.tested ## molecule's scenarios for each role; SCENARIOS="default lifecycle" are those of the site and of repair
	set -e; for scenario in $(SCENARIOS); do molecule test --scenario-name $$scenario; done

molecule-all: ## every scenario, also with all hosts on Debian 12, all on 13, and Debian 13 with workers of 12: an hour
	$(MAKE) molecule SCENARIOS="docker image swarm training lifecycle default"
	set -e; for releases in bookworm trixie mixed; do \
	  DDP_RELEASES=$$releases $(MAKE) molecule SCENARIOS="image swarm training lifecycle default"; done

faults: .venv/.tested ## plant faults on a lab of their own, one at a time: is each one named?
	$(BIN)/python -m pytest tests/faults

hangs: .venv/.tested ## plant stalls in the examples, on this machine and on a lab of their own: is rank, host and line named?
	$(BIN)/python -m pytest tests/hangs

endurance: .venv/.tested ## three hosts, a job, and a fault drawn by chance every EVERY=180 seconds of MINUTES=60; SEED= repeats the draw
	MINUTES=$(or $(MINUTES),60) EVERY=$(or $(EVERY),180) SEED=$(SEED) $(BIN)/python -m pytest -s tests/faults/endurance.py

kills: .venv/.tested ## KILLS=100 kills of the trainer at moments drawn by chance, on this machine: are the weights bit for bit the same? SEED=
	KILLS=$(or $(KILLS),100) SEED=$(SEED) $(BIN)/python -m pytest -s tests/unit/kills.py

faults-clean: .venv/.tested ## RUNS=50 checks of a healthy lab in a row: is there a false alarm?
	RUNS=$(or $(RUNS),50) $(BIN)/python -m pytest tests/faults -k clean_runs

# Of those that are kept elsewhere (tests/field/conftest.py has the index), what needs no lab.
FIELD_BESIDE := $(addprefix tests/,roles/test_inventories.py roles/test_setting_checks.py unit/test_brief.py \
  unit/test_filter_training_command.py unit/test_launcher.py unit/test_observe_mounts.py)

field: .venv/.tested ## situations from the field, each with its good outcome, on a lab of their own
	$(BIN)/python -m pytest $(FIELD_BESIDE) tests/field

distributions: .venv/.tested ## from bare to a finished training on hosts that stand in for Ubuntu 24.04 and Rocky Linux 9
	$(BIN)/python -m pytest -x tests/distributions

hardening: .venv/.tested ## a training that was taken over: where do its names, links and bytes lead?
	$(BIN)/python -m pytest tests/hardening

scripts: .venv/.tested ## programs that know nothing of this project, on a lab of their own
	$(BIN)/python -m pytest tests/scripts

monitoring: .venv/.tested ## Prometheus through a tunnel while a job trains, on a lab of its own, with stand-ins for the official images
	$(BIN)/python -m pytest tests/monitoring

bench: .venv/.tested ## on labs of its own: a run with nothing to do beside pings; samples/s of the swarm beside torchrun by hand
	$(BIN)/python -m pytest tests/bench/test_rerun.py tests/bench/test_install.py tests/bench/test_throughput.py

bench-image: .venv/.tested ## what build, ship and registry cost, with HOSTS=2,4
	$(BIN)/python -m pytest tests/bench/test_image.py

image: .venv/.tested ## build, ship, registry, pruning and what goes wrong with them, on a lab of its own
	$(BIN)/python -m pytest tests/image

console: .venv/.tested ## ./ddp typed into terminals of two sizes, on a lab of its own; needs tmux, keeps the screens in artifacts/console
	$(BIN)/python -m pytest tests/console

pages: .venv/.pages .venv/.documented ## the report of a real job, the site, TensorBoard and Prometheus in Chromium; pictures in artifacts/pages
	$(BIN)/python -m pytest tests/pages

pictures: .venv/.pages ## the pictures of README and docs anew, of what `make console` and `make pages` have kept of real runs
	$(BIN)/python tests/pages/pictures.py
	@ls -l docs/pictures

lock: .venv/.tested ## training/requirements.lock anew: every package of the image, with its hashes, after a change of requirements.txt
	uv pip compile training/requirements.txt --output-file training/requirements.lock --universal --generate-hashes \
	  --python-version 3.11 --no-annotate --custom-compile-command 'make lock' --quiet

readmes: .venv/.tested ## the roles' READMEs anew, out of their argument_specs
	for role in roles/*; do aar-doc --output-mode replace $$role markdown; done

docs: .venv/.documented ## the pages as a site, every link checked: .site/index.html
	@NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet
	@echo "The site: .site/index.html (its search needs a server: python3 -m http.server --bind 127.0.0.1 --directory .site)"

release: .venv/.tested ## the collection's archive in dist/, built, installed and run from there, and the notes of its version beside it
	mkdir -p dist
	DDP_RELEASE=dist $(BIN)/python -m pytest tests/roles/test_collection.py
	$(BIN)/python tests/changelog.py dist
	@ls -l dist/*

lifecycle: .venv/.tested ## repair, day 2, interruptions, eight hosts: on labs of their own, about an hour
	$(BIN)/python -m pytest tests/lifecycle

gpu-stand-in: .venv/.tested ## GPUs in a swarm with invented GPUs and a runtime that stands in: scheduling, settings
	$(BIN)/python -m pytest -x tests/gpu_stand_in

test-gpu: .venv/.tested ## what only a GPU can show, where torch sees one: NCCL and the trainer on CUDA
	$(BIN)/python -m pytest tests/gpu

clean: ## remove .venv and caches, not the lab, not artifacts
	rm -rf .venv .site .mutants_cache .mypy_cache .ruff_cache .pytest_cache
