# `make demo` and `make test` work in a fresh clone. Everything installed goes into .venv.
#
#   PYTHON=python3.12      the interpreter that makes .venv (3.11 or newer)
#   TORCH_INDEX=URL        another build of PyTorch, from the index that PyTorch's install page names.
#                          Default: what pip is configured to find (from PyPI on Linux: CUDA).
#   SECRETS=secrets        where `make secrets` writes what docker-compose.yml reads

PYTHON ?= python3
TORCH_INDEX ?=
SECRETS ?= secrets
BIN := .venv/bin
# Files go to the processes in the order of `testpaths`. By default those of few tests would come last:
# a journey is one test of a minute, and the other processes would wait for it.
PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
STAMP := .venv/.installed$(addprefix -,$(notdir $(TORCH_INDEX)))
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: setup demo up test test-slow test-all check bench bench-serving bench-explanations bench-monitoring gpu-check migrate reference proto secrets clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	@$(if $(TORCH_INDEX),$(BIN)/python -m pip uninstall --quiet --yes torch,true)
	@echo "Installing into .venv; the first time takes minutes"
	$(BIN)/python -m pip install -qq $(addprefix --extra-index-url ,$(TORCH_INDEX)) -c constraints.txt -e '.[dev]'
	@rm -f .venv/.installed*
	@touch $@

demo: setup
	$(BIN)/pellucid demo

up: setup
	$(BIN)/pellucid up

test: setup
	$(PYTEST) -m 'not slow and not gpu'

test-slow: setup
	$(PYTEST) -m 'slow and not gpu' --timeout 1800

test-all: test test-slow

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup
	$(BIN)/python -m pip install -qq -c constraints.txt -e '.[bench]'
	for name in training diagnostics tabular images sequences texts; do \
		$(BIN)/python benchmarks/$$name.py || exit 1; \
	done

bench-serving: setup
	$(BIN)/python benchmarks/serving.py

bench-explanations: setup
	$(BIN)/python benchmarks/explanations.py

bench-monitoring: setup
	$(BIN)/python benchmarks/monitoring.py

gpu-check: setup
	@$(BIN)/python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' || \
		{ echo "PyTorch finds no CUDA device here: see docs/howto/gpu.md" >&2; exit 1; }
	$(BIN)/python -m pytest -m gpu
	$(BIN)/python benchmarks/gpu.py
	$(BIN)/python benchmarks/gpu_serving.py

migrate: setup
	$(BIN)/pellucid db upgrade

reference: setup
	$(BIN)/pellucid settings --markdown > docs/reference/settings.md
	$(BIN)/pellucid train --schema --markdown > docs/reference/plan.md
	$(BIN)/python -m pellucid_api.metrics_page > docs/reference/metrics.md

# The compiler of protocol buffers wants libraries that ours do not fit: it has an environment of its own.
proto:
	$(PYTHON) -m venv build/proto
	build/proto/bin/python -m pip install -qq grpcio-tools
	cd api/pellucid_api/rpc && ../../../build/proto/bin/python -m grpc_tools.protoc -I. \
		--descriptor_set_out=services.binpb inference.proto health.proto

# Random secrets for docker-compose.yml; existing ones stay. The directory is private to you; its
# files are readable, because the services' users read them through a bind mount.
secrets:
	@mkdir -p $(SECRETS) && chmod 700 $(SECRETS)
	@cd $(SECRETS) && if [ ! -e postgres_password ]; then \
		password=$$($(PYTHON) -c 'import secrets; print(secrets.token_hex(32))'); \
		printf %s "$$password" > postgres_password; \
		url="postgresql+psycopg://pellucid:$$password@postgres:5432"; \
		printf %s "$$url/pellucid" > pellucid_database_url; \
		printf %s "$$url/mlflow" > mlflow_database_url; \
	fi
	@[ -e $(SECRETS)/api_keys ] || \
		$(PYTHON) -c 'import secrets; print(secrets.token_hex(32), end="")' > $(SECRETS)/api_keys
	@[ -e $(SECRETS)/grafana_password ] || \
		$(PYTHON) -c 'import secrets; print(secrets.token_hex(16), end="")' > $(SECRETS)/grafana_password
	@echo "Secrets are in $(SECRETS)/"

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
