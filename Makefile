# penta - GNU make. `make help` says what there is.
# Objects of a configuration lie in build/CONFIG: release (default), asan, tsan, clang.

CONFIG ?= release
B := build/$(CONFIG)
CC := gcc
OPT := -O2 -g
SAN :=
ifeq ($(CONFIG),asan)
SAN := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
OPT := -O1 -g
endif
ifeq ($(CONFIG),tsan)
SAN := -fsanitize=thread
OPT := -O1 -g -Wno-tsan
endif
ifeq ($(CONFIG),clang)
CC := clang
# Tables leave out what is zero; a kernel header's open array is given its entries by a struct around it.
WARN_CLANG := -Wno-missing-field-initializers -Wno-gnu-variable-sized-type-not-at-end
endif

# V=1 shows whole commands.
V ?= 0
Q := $(if $(filter 1,$(V)),,@)
say = $(if $(filter 1,$(V))$(findstring s,$(firstword -$(MAKEFLAGS))),@:,@echo '  $(1)')
PREFIX ?= /usr/local
DESTDIR ?=
GEN := build/gen
PKGS := $(shell cat tools/pkgs)
WARN := -Wall -Wextra -Wshadow -Wvla -Wimplicit-fallthrough -Wstrict-prototypes -Wmissing-prototypes \
	-Wno-unused-parameter $(WARN_CLANG) -Werror
CPPFLAGS = -D_GNU_SOURCE -Isrc -I$(GEN) $(PKG_CFLAGS)
CFLAGS = -std=gnu17 $(OPT) $(WARN) $(SAN) -pthread -MMD -MP
LDFLAGS = $(SAN) -pthread
PKG_CFLAGS = $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
LIBS = $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lbz2 -lm
LIBS_test_decode = -lZydis

SRC := $(sort $(shell find src -name '*.c'))
MAIN := src/manage/cli/main.c
LIBOBJ := $(patsubst %.c,$(B)/%.o,$(filter-out $(MAIN),$(SRC)))
LIB := $(B)/libpenta.a
# What is generated from the instruction table.
GENFILES := $(GEN)/x86/ops.h $(GEN)/x86/insn_table.c.inc

UNIT := $(patsubst tests/%.c,$(B)/tests/%,$(shell find tests -name 'test_*.c'))
FUZZ := $(patsubst fuzz/%.c,$(B)/fuzz/%,$(wildcard fuzz/fuzz_*.c))

.PHONY: FORCE all build help demo check unit e2e bench fuzz install asan tsan clang setup compdb clean layers tour
all: penta
FORCE:

ifeq ($(CONFIG),release)
penta: $(B)/penta
	@cp $< $@.tmp && mv $@.tmp $@
else
penta: $(B)/penta
endif

$(B)/penta: $(B)/$(MAIN:.c=.o) $(LIB) | $(B)/layers $(B)/fuzzed
	$(call say,LD $@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)

# An #include that points up or sideways ends the build.
$(B)/layers: $(SRC) $(shell find src -name '*.h') tests/layers
	@mkdir -p $(@D); tests/layers >/dev/null && touch $@

# So does a device that no fuzzer drives.
$(B)/fuzzed: $(SRC) fuzz/covers tests/fuzzed
	@mkdir -p $(@D); tests/fuzzed build >/dev/null && touch $@

# The list of objects is a prerequisite of its own: a file that goes must leave the library.
$(B)/objects: FORCE
	@mkdir -p $(@D); echo '$(LIBOBJ)' | cmp -s - $@ || echo '$(LIBOBJ)' > $@
$(LIB): $(LIBOBJ) $(B)/objects
	@rm -f $@; ar rcs $@ $(filter %.o,$^)

# The guest's agent is built once, whatever the configuration: a static program without sanitizers, which
# the program carries in itself.
AGENT := $(GEN)/penta-agent
$(AGENT): guest/agent.c src/manage/agent/proto.h
	@mkdir -p $(@D)
	$(call say,CC $<)
	$(Q)$(CC) -D_GNU_SOURCE -Isrc -std=gnu17 -O2 $(WARN) -static -s -o $@.tmp $< && mv $@.tmp $@
$(B)/src/manage/image/embed.o: $(AGENT) src/manage/image/debian.sh
CFLAGS_embed := -DGUEST_AGENT='"$(AGENT)"'

$(B)/%.o: %.c | $(GENFILES)
	@mkdir -p $(@D)
	$(call say,CC $<)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(CFLAGS_$(notdir $*)) -c -o $@ $<

# The differential test has several files.
$(B)/tests/diff/test_diff: $(patsubst %.c,$(B)/%.o,$(filter-out tests/diff/test_%,$(wildcard tests/diff/*.c)))
# Tests, fuzzers and benches are single files (plus *.h beside them) over the library.
$(B)/tests/%: tests/%.c $(LIB) | $(GENFILES)
	@mkdir -p $(@D)
	$(call say,CC $<)
	$(Q)$(CC) $(CPPFLAGS) -Itests $(CFLAGS) -o $@ $< $(filter %.o,$^) $(LIB) $(LDFLAGS) $(LIBS) $(shell pkg-config --libs cmocka) $(LIBS_$(notdir $*))
$(B)/fuzz/%: fuzz/%.c $(LIB) | $(GENFILES)
	@mkdir -p $(@D)
	$(call say,CC $<)
	$(Q)$(CC) $(CPPFLAGS) -Ifuzz -Itests $(CFLAGS) -o $@ $< $(LIB) $(LDFLAGS) $(LIBS)


$(GEN)/x86/ops.h $(GEN)/x86/insn_table.c.inc &: src/x86/insns.tab tools/geninsn.awk
	@mkdir -p $(GEN)/x86
	awk -v OUT=ops -f tools/geninsn.awk src/x86/insns.tab > $(GEN)/x86/ops.h.tmp
	awk -v OUT=table -f tools/geninsn.awk src/x86/insns.tab > $(GEN)/x86/insn_table.c.inc.tmp
	@mv $(GEN)/x86/ops.h.tmp $(GEN)/x86/ops.h; mv $(GEN)/x86/insn_table.c.inc.tmp $(GEN)/x86/insn_table.c.inc

setup:			## install what is missing (Debian packages; sudo only when not root)
	@tools/setup build test
demo:			## boot a stock Debian kernel to a shell on this terminal
	@tools/setup build demo
	@$(MAKE) --no-print-directory penta
	@tools/demo
check:			## every test, on a fresh machine too; ends in "N passed, N failed, N skipped"
	@tools/setup build test
	@$(MAKE) --no-print-directory -j$(shell nproc) penta units $(FUZZ)
	@DIFF_CASES=2000000 tests/run
units: $(UNIT)		## build the unit tests
unit: units		## the unit tests alone
	@tests/run unit
e2e: penta		## the end-to-end tests alone
	@tests/run e2e
asan tsan clang:	## the same build in build/NAME, with sanitizers or clang
	$(MAKE) CONFIG=$@ penta
bench:			## performance beside the peers
	@tools/setup build bench
	@$(MAKE) --no-print-directory penta
	bench/run
fuzz: $(FUZZ) $(B)/tests/diff/test_diff		## run all fuzzers, FUZZ_SECONDS each (default 60)
	fuzz/run
layers:			## every #include that points up or sideways
	@tests/layers
tour:			## the lite machine in reading order, as a book
	@tools/tour
compdb: clean		## compile_commands.json
	@tools/setup build test dev
	bear -- $(MAKE) penta units
install: penta		## to $(DESTDIR)$(PREFIX)
	install -D -m755 penta $(DESTDIR)$(PREFIX)/bin/penta
	for p in man/*.1; do install -D -m644 $$p $(DESTDIR)$(PREFIX)/share/man/man1/$${p##*/}; done
	install -D -m644 tools/completion.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/penta
clean:			## remove what was built
	rm -rf build penta
help:
	@grep -hE '^[a-z0-9 ]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

-include $(shell [ -d $(B) ] && find $(B) -name '*.d')
