# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Sourced after lib.sh by what compiles for a guest.

# toolchain ARCH TREE: set make_vars, what every `make` in TREE is told: the
# compiler, through ccache, and nothing of who builds where and when, so that
# the same source gives the same image.
toolchain()
{
	local cross=''

	case $1 in
	x86_64)	;;
	arm64)	cross=aarch64-linux-gnu- ;;
	*)	die "no such architecture: $1" ;;
	esac

	export CCACHE_BASEDIR=$2 CCACHE_MAXSIZE=5G
	export KBUILD_BUILD_TIMESTAMP='2026-01-01' KBUILD_BUILD_USER=memfile
	export KBUILD_BUILD_HOST=workbench
	# From a `make -j` above us; its job server is not ours.
	unset MAKEFLAGS MFLAGS MAKELEVEL
	make_vars=(-j "$(nproc)" "CROSS_COMPILE=$cross" "CC=ccache ${cross}gcc"
		   'HOSTCC=ccache gcc' LOCALVERSION=)
}
