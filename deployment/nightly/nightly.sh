#!/bin/sh
# Score the new and changed rows of a folder, update the index, and notify a person if necessary.
# Settings are in batchscore.toml, API keys in the environment. Exit codes: docs/reference/codes.md.
set -u
cd "${NIGHTLY_FOLDER:-$(dirname "$0")}" || exit 1

# cron and systemd do not know your virtual environment: then BATCHSCORE is the path of the command.
report=$(mktemp) || exit 1
"${BATCHSCORE:-batchscore}" score "${NIGHTLY_INPUT:-data}" --config batchscore.toml --json > "$report"
code=$?

notify() {
    echo "nightly: $1" >&2
    # NIGHTLY_TELL is a command that notifies you: mail, a chat webhook, ... The text is its last argument.
    if [ -n "${NIGHTLY_TELL:-}" ]; then sh -c "$NIGHTLY_TELL \"\$1\"" nightly "$1"; fi
}

if [ "$code" -eq 5 ]; then
    # The earlier run continues and scores the same rows.
    rm -f "$report"
    notify "an earlier run is still active; nothing was done"
    exit 5
fi
mv "$report" last-run.jsonl

case $code in
    0) ;;
    3) notify "some rows failed, all others are scored: $(tail -n 1 last-run.jsonl)" ;;
    4) notify "stopped early; the next run resumes" ;;
    *) notify "action needed (exit code $code): $(tail -n 1 last-run.jsonl)"; exit "$code" ;;
esac

# Do this after a stopped run, too: its changed files are complete, and their changes are listed.
# NIGHTLY_INDEX is a command, such as: /opt/venv/bin/python update_index.py
if [ -n "${NIGHTLY_INDEX:-}" ]; then
    sh -c "$NIGHTLY_INDEX" || { notify "the index could not be updated"; exit 1; }
fi
exit "$code"
