# SPDX-License-Identifier: Apache-2.0
#
# The front door. Each target installs what it needs (tools/setup says what it does) and asks
# nothing; Meson and Ninja do the work in build/.

BUILD = build
MESON = env -u PYTHONHOME meson
PREFIX ?= /usr/local

.PHONY: all demo test soak bench install clean setup-build

all: setup-build
	@test -f $(BUILD)/build.ninja || $(MESON) setup $(BUILD) --prefix $(PREFIX) >&2
	@ninja -C $(BUILD) $(QUIET)

setup-build:
	@tools/setup build

demo:
	@tools/setup demo
	@$(MAKE) --no-print-directory all QUIET=--quiet
	@$(BUILD)/venv/bin/python tools/minilm
	@$(BUILD)/venv/bin/python tools/suite-models
	@$(BUILD)/venv/bin/python tools/demo

test:
	@tools/setup test
	@tools/test

# Random walks and schedules with new seeds, in all three builds, for MINUTES.
MINUTES ?= 10
soak:
	@tools/setup test
	@tools/soak $(MINUTES)

bench: all
	@$(BUILD)/cli/rpool bench

# DESTDIR=... stages the files for a package; without it the loader is told of the new library.
install: all
	@ninja -C $(BUILD) install
	@if [ -z "$(DESTDIR)" ] && [ "$$(id -u)" = 0 ]; then ldconfig; fi

clean:
	rm -rf $(BUILD)
