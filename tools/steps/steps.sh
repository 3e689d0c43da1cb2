#!/usr/bin/env bash
# steps.sh 'TITLE|COMMAND'... runs commands side by side, and says when each is done and, at least every 10 seconds, what isn't yet. What a command
# prints is kept, and shown only if it fails: then the others are ended, and so is this, with status 1. It is for Bash 3.2, which macOS has.
set -euo pipefail

logs=$(mktemp -d)
titles=() running=()
began=$SECONDS said=$SECONDS

# Each command has its own process group, so that all that it has started ends with it.
set -m
stop() {
	for pid in ${running[@]+"${running[@]}"}; do
		[ -z "$pid" ] || kill -TERM -- "-$pid" 2> /dev/null || true
	done
	wait 2> /dev/null || true
	rm -rf "$logs"
}
trap stop EXIT
trap 'exit 130' INT TERM HUP

say() {
	printf '%5d s  %s\n' $((SECONDS - began)) "$1"
	said=$SECONDS
}

for step in "$@"; do
	at=${#titles[@]}
	titles[at]=${step%%|*}
	bash -c "${step#*|}" > "$logs/$at" 2>&1 < /dev/null &
	running[at]=$!
done

# busy says in one line what isn't done yet, with the last line that each printed.
busy() {
	local all='' last
	for at in "${!titles[@]}"; do
		if [ -n "${running[at]}" ]; then
			last=$(tail -n 1 "$logs/$at" | cut -c 1-100)
			all="$all${all:+; }${titles[at]}${last:+: $last}"
		fi
	done
	say "… $all"
}

left=${#titles[@]}
while [ "$left" -gt 0 ]; do
	for at in "${!titles[@]}"; do
		pid=${running[at]}
		if [ -z "$pid" ] || kill -0 "$pid" 2> /dev/null; then
			continue
		fi
		running[at]='' left=$((left - 1))
		if ! wait "$pid"; then
			say "${titles[at]}: FAILED" >&2
			cat "$logs/$at" >&2
			exit 1
		fi
		say "${titles[at]}: done"
	done
	[ $((SECONDS - said)) -lt "${STEPS_EVERY:-8}" ] || busy
	[ "$left" -eq 0 ] || sleep 0.2
done
