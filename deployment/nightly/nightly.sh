#!/bin/sh
# Scores what is new in the folder, updates what depends on it, and tells whoever has to act.
# What to score is in batchscore.toml, keys are in the environment. Exit codes: docs/how-to/schedule.md.
set -u
cd "${NIGHTLY_FOLDER:-$(dirname "$0")}" || exit 1

report=$(mktemp) || exit 1
"${BATCHSCORE:-batchscore}" score "${NIGHTLY_INPUT:-data}" --json > "$report"
code=$?

tell() {
    echo "nightly: $1" >&2
    # Name here a command that reaches you: mail, a chat's webhook, ...
    if [ -n "${NIGHTLY_TELL:-}" ]; then "$NIGHTLY_TELL" "$1"; fi
}

if [ "$code" -eq 5 ]; then
    # The earlier run goes on and does what this one would have done.
    rm -f "$report"
    tell "an earlier run is still at work; nothing was done"
    exit 5
fi
mv "$report" last-run.jsonl

case $code in
    0) ;;
    3) tell "some rows failed, the others are scored: $(tail -n 1 last-run.jsonl)" ;;
    4) tell "stopped before its end; the next run goes on" ;;
    *) tell "somebody must act (exit code $code): $(tail -n 1 last-run.jsonl)"; exit "$code" ;;
esac

# Also after a run that was stopped: the files that it did change are whole, and their changes are told.
if [ -n "${NIGHTLY_INDEX:-}" ]; then
    "$NIGHTLY_INDEX" || { tell "the index could not be updated"; exit 1; }
fi
exit "$code"
