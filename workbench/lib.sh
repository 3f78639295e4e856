# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Sourced by every script of the workbench: where things lie, how progress is
# shown, and how a run is stopped.

set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BUILD=$ROOT/build		# all that can be made again, but for commits in $TREE
TREE=$BUILD/tree		# the kernel tree with the series on it
LOGS=$BUILD/log
RESULTS=$BUILD/results
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/memfile	# shared by all clones
export CCACHE_DIR=$CACHE/ccache
export ROOT BUILD TREE LOGS RESULTS CACHE

# Nobody's settings may change what git does here: not the user's, not those of
# a repository that a hook calls us from.
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE
export LC_ALL=C.UTF-8

mkdir -p "$LOGS" "$RESULTS" "$CACHE"

note() { printf '%s\n' "$*"; }

die()
{
	printf 'error: %s\n' "$*" >&2
	exit 1
}

# lock FILE: wait until no other run holds FILE, then hold it until this script
# and its children have ended. The kernel drops it with the last of them, so a
# killed run leaves nothing to clean up.
lock()
{
	local fd

	exec {fd}>>"$1"
	flock -n "$fd" && return
	note "waiting for another run that holds $1"
	flock "$fd"
}

elapsed() { printf '%d:%02d' $(((SECONDS - $1) / 60)) $(((SECONDS - $1) % 60)); }

# step NAME COMMAND...: run COMMAND with its output in $LOGS/NAME.log. Shows that
# it runs and for how long; if it fails, also the end of its log. Returns
# COMMAND's exit status.
#
# COMMAND is a process group of its own: a signal to this script alone (a CI
# that gives up) has to reach everything that COMMAND started, and what runs in
# the background without one ignores Ctrl-C.
step_group='' step_ticker=''
step()
{
	local name=$1 log=$LOGS/$1.log start=$SECONDS status=0 restore

	shift
	restore=$(set +o | grep monitor)
	set -m
	"$@" >"$log" 2>&1 </dev/null &
	step_group=$!
	step_tick "$name" "$start" &
	step_ticker=$!
	eval "$restore"

	wait "$step_group" || status=$?
	step_group=''
	stop_ticker

	[ ! -t 1 ] || printf '\r\033[K'
	if [ "$status" -eq 0 ]; then
		note "  $name: done in $(elapsed "$start")"
		return 0
	fi
	note "  $name: FAILED after $(elapsed "$start"), the last lines of $log:"
	tail -n 30 "$log" | sed 's/^/    | /'
	return "$status"
}

step_tick()
{
	[ -t 1 ] || note "  $1 ..."
	while kill -0 $$ 2>/dev/null; do
		if [ -t 1 ]; then
			printf '\r\033[K  %s ... %s' "$1" "$(elapsed "$2")"
			sleep 1
		else
			sleep 30
			note "  $1 ... $(elapsed "$2")"
		fi
	done
}

stop_ticker()
{
	[ -n "$step_ticker" ] || return 0
	{ kill -- "-$step_ticker"; wait "$step_ticker"; } 2>/dev/null || :
	step_ticker=''
}

stop_step()
{
	trap '' INT TERM HUP
	stop_ticker
	[ -z "$step_group" ] || kill -- "-$step_group" 2>/dev/null || :
	wait
	exit "$1"
}
trap 'stop_step 130' INT
trap 'stop_step 143' TERM
trap 'stop_step 129' HUP

# tally COMMAND...: run it and count how it ended; summary prints the counts and
# fails if one of them did.
passed=0 failed=0 skipped=0
tally()
{
	if "$@"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
	fi
}

summary()
{
	note "$passed passed, $failed failed, $skipped skipped$(closing_mark)"
	[ "$failed" -eq 0 ]
}

# How the last line of a run says that it was not made on the pinned kernel.
closing_mark()
{
	sed -n 's/^unpinned=\(..*\)/ UNPINNED (\1)/p' "$BUILD/base" 2>/dev/null || :
}
