# SPDX-License-Identifier: GPL-2.0
#
# Every target is one script in workbench/; `make help` says what each is for.

help:	## show this
	@echo 'usage: make TARGET [VARIABLE=value ...]'
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 24 | sed 's/^/  /'
	@echo
	@sed -n 's/^#= //p' $(MAKEFILE_LIST) | expand -t 24 | sed 's/^/  /'

#= ARCH=x86_64|arm64	for run, shell, soak and bench (x86_64 without it) and for test (both)
#= GROUP="name ..."	only these groups of test or soak
#= WORK="name ..."	only this work of bench or bench-native
#= T=minutes	how long soak repeats the tests (60)
#= AGAINST=file	results of bench-native on another kernel, to stand beside these
#= LINUX=path	take the kernel source from this tree or tarball (once: the clone keeps it)
#= SEED=number	repeat the run of test or soak that printed this seed

run: deps	## boot the kernel with the series and run the sample VMM in it
	@workbench/run

test: deps	## every test on both architectures: what CI runs
	@workbench/test

soak: deps	## the same tests at full length and on a KASAN kernel, of x86_64 or ARCH
	@workbench/soak

bench: deps	## count what things cost, on the unpatched kernel and on ours
	@workbench/bench

bench-native: deps	## the same work, timed on the running kernel of a real machine
	@workbench/bench-native

shell: deps	## boot to a prompt with the tools there
	@workbench/shell

quick: deps	## the checks that need no kernel build, in under a minute
	@workbench/quick

tree: deps	## lay the series on the kernel source: build/tree, a git tree to work in
	@workbench/tree

export: deps	## write the commits in build/tree back to this repository
	@workbench/export

series: deps	## the mails, with a cover letter, in build/series
	@workbench/series

series-check: deps	## build after each step of the series, on both architectures
	@workbench/series-check

matrix: deps	## build with KVM=m,y,n, without memory files, with W=1 and sparse
	@workbench/matrix

clean:	## remove logs, results and kernel objects; keep build/tree and its commits
	rm -rf build/log build/results build/series build/bench build/harness
	rm -rf build/tree/obj-* build/pristine/obj-* build/second/obj-*

deps:	## install the Debian packages that are missing (other targets do, too)
	@workbench/deps

.PHONY: help run test soak bench bench-native shell quick tree export series series-check matrix clean deps
