# The same commands as CI's, in parts. `./pillarbox test` makes the environment that all of them use.
BIN := .venv/bin
SECONDS ?= 3600
ROUNDS ?= 200
EXAMPLES ?= 20
TARGETS ?= $(wildcard tests/fuzz/fuzz_*.py)
PYTHON ?= python3.13

.PHONY: test unit python lint docs fuzz crash models system webmail boot bench

test: ## everything CI runs
	./pillarbox test

unit: ## only the tests that need no other program
	$(BIN)/pytest tests/unit tests/dialogues

python: ## linters, types and the same tests with another Python, in a fresh clone of what is committed
	unset PILLARBOX_TEST_DATA; data=$$(readlink -e "$(or $(PILLARBOX_TEST_DATA),../shared/data)") && \
	export PILLARBOX_TEST_DATA="$$data"; dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && \
	git clone -q . "$$dir/pillarbox" && cd "$$dir/pillarbox" && \
	PILLARBOX_PYTHON="$(PYTHON)" ./pillarbox test -n auto --dist loadfile tests/unit tests/dialogues

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: ## the pages that are written from declarations
	$(BIN)/python -m pillarbox.config.document > docs/configuration.md
	$(BIN)/python -m pillarbox.imap.document > docs/imap-extensions.md

fuzz: ## for long; `make fuzz SECONDS=60 TARGETS=tests/fuzz/fuzz_mime.py` for less
	printf '%s\n' $(TARGETS) | xargs -P "$$(nproc)" -I{} $(BIN)/python {} --seconds $(SECONDS)

crash: ## kill -9 under load
	PILLARBOX_CRASH_ROUNDS=$(ROUNDS) $(BIN)/pytest tests/crash

models: ## hypothesis with so many times CI's examples
	PILLARBOX_EXAMPLES=$(EXAMPLES) $(BIN)/pytest $$(grep -rlE --include='test_*.py' '^from examples import' tests)

system: ## real programs against a real server
	$(BIN)/pytest tests/system

webmail: ## Roundcube in a browser, and Thunderbird; the packages are in CONTRIBUTING.md
	$(BIN)/pytest tests/webmail

boot: ## the runbook on a Debian that boots in a container; as root, with debootstrap and systemd-container
	PILLARBOX_ROOTFS="$${PILLARBOX_ROOTFS:-/var/tmp/pillarbox-rootfs}" $(BIN)/pytest tests/boot

bench: ## beside Postfix and Dovecot; as root, see bench/RESULTS.md
	$(BIN)/python bench/smtp.py
	$(BIN)/python bench/latency.py
	$(BIN)/python bench/memory.py
	$(BIN)/python bench/relay.py
	$(BIN)/python bench/mail_queue.py
