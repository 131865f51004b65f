"""What should the user do next: about rows that failed, and after a run?

Pure. The terminal and the report page give the same advice.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from batchscore.errors import ErrorCode, name_settings, setting_name
from batchscore.settings.declare import as_flag
from batchscore.settings.secrets import HIDDEN
from batchscore.stores.address import command_word, shell_command

#: The encoding that the message about a file gives as an example.
_ENCODING = re.compile(r"is not UTF-8: .* for example \S*encoding[ =]\"?([^\"\s,]+)")

RETRY = "run the same command again to retry"

#: What to do about rows with each error: in a few words, and what the page adds. Setting names are marked.
ADVICE: Mapping[ErrorCode, tuple[str, str]] = {
    ErrorCode.EMPTY_INPUT: ("nothing to do", "These rows have no text. They do not count as failed."),
    ErrorCode.UNREADABLE_ROW: (
        "fix these rows of the input; see the error records",
        f"{setting_name('quote')}, {setting_name('escape')} and {setting_name('encoding')} say how.",
    ),
    ErrorCode.ROW_TOO_LARGE: (f"split the row, or raise {setting_name('max_row_bytes')}", ""),
    ErrorCode.MISSING_COLUMN: ("add the column to these rows, or use another", ""),
    ErrorCode.INVALID_MESSAGES: ("fix the messages column of these rows", ""),
    ErrorCode.UNREADABLE_IMAGE: ("fix the images that these rows name", ""),
    ErrorCode.INPUT_TOO_LONG: (
        f"shorten the text, or {setting_name('on_long_input', 'truncate')}",
        "Truncated rows need a new output folder.",
    ),
    ErrorCode.CONTENT_FILTER: ("reword the text: the service refuses it", "A retry gives the same result."),
    ErrorCode.INVALID_REQUEST: (
        "see the status and code in the error record",
        f"After a fix, retry these rows with {setting_name('retry_errors', True)}.",
    ),
    ErrorCode.OVER_QUOTA: (
        f"shorten the row, or raise {setting_name('tpm')}",
        f"A lower {setting_name('max_tokens')} helps, too.",
    ),
    ErrorCode.RATE_LIMITED: (RETRY, ""),
    ErrorCode.SERVER_ERROR: (RETRY, ""),
    ErrorCode.TIMEOUT: (RETRY, f"A longer {setting_name('timeout')} may help."),
    ErrorCode.CONNECTION_ERROR: (RETRY, ""),
    ErrorCode.INVALID_RESPONSE: (RETRY, ""),
    ErrorCode.INVALID_ANSWER: (
        "see the rule in the error record",
        f"A higher {setting_name('max_tokens')} or {setting_name('schema_feedback', True)} may help.",
    ),
}


#: Flags that can be the cause of errors. A command is offered without them.
CAUSES: Mapping[str, str] = {"over_quota": "--tpm", "row_too_large": "--max-row-bytes"}

#: Codes of rows whose remedy is to edit the input; a setting may help some of them instead.
ONLY_BY_EDIT = frozenset({"unreadable_row", "missing_column", "invalid_messages", "unreadable_image"})
BY_EDIT = ONLY_BY_EDIT | {"row_too_large", "input_too_long"}
#: Codes of rows that an edit or something else may help: the next command should take both.
MAYBE_BY_EDIT = {"content_filter", "invalid_request", "over_quota"}


def advice(code: str, *, in_full: bool = False) -> str:
    """Return what to do about rows with this code: in a few words, or in sentences."""
    try:
        short, more = ADVICE[ErrorCode(code)]
    except ValueError:
        short, more = "see the error record", "This code is of another version of batchscore."
    return f"{short[0].upper()}{short[1:]}. {more}".rstrip() if in_full else short


@dataclass(frozen=True, slots=True)
class RunState:
    """The facts about an output and its last run that decide the next step.

    `command` are the run's words as typed, none if they are unknown. `stopped`: the run ended early, for a
    reason that the user must fix if `must_act`; `changed`: because an input file has changed. `codes` are the
    error codes of the `failed` rows, of some of them if not `all_codes`; `transient` of these are retried by
    the same command. `unreadable`: of each unreadable file, whether it has records, so that its repaired
    version counts as changed. `takes_incremental`: the command may have --incremental. `one_file`: the output
    is a file, not a folder.
    """

    task: str
    output: str
    command: Sequence[str]
    stopped: bool = False
    must_act: bool = False
    changed: bool = False
    limited: bool = False
    unreadable: Sequence[bool] = ()
    failed: int = 0
    transient: int = 0
    codes: Collection[str] = ()
    all_codes: bool = True
    takes_incremental: bool = True
    ok: int = 0
    one_file: bool = False


@dataclass(frozen=True, slots=True)
class NextStep:
    """What to do next, and the command for it; no command if that is unknown or not needed."""

    text: str
    command: str = ""

    @property
    def lead(self) -> str:
        """The text before the command."""
        return f"{self.text}{':' if self.command else '.'}"

    def __str__(self) -> str:
        return f"{self.lead} {self.command}".rstrip()


def next_step(state: RunState, encodings: Collection[str] = ()) -> NextStep:
    """Return the next step after a run; `encodings` are those that unreadable files may be in."""
    # The same command with --overwrite would start from scratch instead of resuming.
    command = [word for word in state.command if word != "--overwrite"]
    causes = [flag for code, flag in CAUSES.items() if code in state.codes and has_flag(command, flag)]
    for flag in causes:
        command = without_flag(command, flag)
    if state.stopped and state.limited and state.failed > state.ok:
        # Most of the other rows would fail, too.
        return after_failures(state, command, causes)
    if state.stopped and state.limited:
        return run_again("To score all rows", without_flag(command, "--limit"))
    if state.stopped and state.changed:
        return after_edit(state, "To score new or changed rows", command)
    if state.stopped:
        # The cause may be the service or the command itself; then the same command would fail again.
        fix = "Fix this. If a setting is wrong, change it in this command. "
        return run_again(f"{fix if state.must_act else ''}To resume", command)
    if state.unreadable:
        purpose, flags = "Fix or remove these files, or set how to read them. To resume", list[str]()
        if len(encodings) > 1:
            each = "For each, run the command with its files as INPUT, --base-dir and --encoding"
            return NextStep(f"These files seem to differ in encoding. {each}; or convert them to UTF-8")
        if encodings:
            flags = ["--encoding", *encodings]
            purpose = f"If the encoding of these files is another than {flags[1]}, replace it. To resume"
        edited = any(state.unreadable)
        return after_edit(state, purpose, command, flags) if edited else run_again(purpose, command, flags)
    if state.transient:
        return run_again("To retry transient errors", command)
    if state.failed:
        return after_failures(state, command, causes)
    if not state.ok:
        return after_edit(state, "Nothing was scored. When the input has texts", command)
    if state.one_file:
        code = read_code(state.output)
        return NextStep("To read the scores, run", shlex.join(["python", "-c", code]))
    merge = ["batchscore", "merge", command_word(state.output), merged_name(state), "--task", state.task]
    return NextStep("To merge the scores into one file, run", shell_command(merge))


def encodings_in(problems: Iterable[str]) -> set[str]:
    """Return the encodings that problems with files give as examples; none if one is another problem."""
    found = [_ENCODING.search(name_settings(each)) for each in problems]
    return {each[1] if each else "" for each in found} if all(found) else set()


def after_share(state: RunState) -> NextStep:
    """Return the next step after a worker has scored its share."""
    verify = ["batchscore", "verify", command_word(state.output), "--task", state.task]
    return NextStep("When all workers have finished, to check the output, run", shell_command(verify))


def read_code(output: str) -> str:
    """Return the Python code that shows the scores of a file."""
    # With double quotes if possible, since a shell's word in single quotes would hold them escaped.
    name, suffix = repr(f"'{output}"), output.lower().rpartition(".")[2]
    name = f'"{name[2:]}' if name.startswith('"') else repr(output)
    # Numbers such as 007, and texts such as NA, stay what they are.
    as_text = "dtype=str, keep_default_na=False"
    calls = {
        "csv": f"read_csv({name}, {as_text})",
        "tsv": f"read_csv({name}, sep='\\t', {as_text})",
        "xlsx": f"read_excel({name}, keep_default_na=False)",
    }
    if suffix in calls:
        return f"import pandas; print(pandas.{calls[suffix]})"
    return f"import batchscore; print(batchscore.read_scores({name}))"


def merged_name(state: RunState) -> str:
    """Return a name for the merged scores: beside the folder, and not that of a hidden file."""
    above, slash, name = state.output.rstrip("/").rpartition("/")
    if above.endswith(":/"):  # a whole bucket: what is beside it is another bucket
        above, slash = "", ""
    return command_word(f"{above}{slash}{name.lstrip('.') or 'scores'}-{state.task}.jsonl")


def after_failures(state: RunState, command: Sequence[str], causes: Sequence[str]) -> NextStep:
    """Return the next step if rows failed that the same command does not retry; `causes` were left out."""
    without = f" without {' and '.join(causes)}" if causes else ""
    by_edit = BY_EDIT | MAYBE_BY_EDIT if takes_edits(state, command) else BY_EDIT
    by_edit -= {"over_quota"} if "--tpm" in causes else set()
    edited = not state.all_codes or not by_edit.isdisjoint(state.codes)
    # A changed setting can help the others, too, and then their input stays the same.
    flags = [] if state.all_codes and edited and ONLY_BY_EDIT.issuperset(state.codes) else ["--retry-errors"]
    if not edited:
        return run_again(f"Fix the causes. To retry all failed rows{without}", command, flags)
    return after_edit(state, f"Fix the causes. To score these rows again{without}", command, flags)


def after_edit(state: RunState, purpose: str, command: Sequence[str], flags: Sequence[str] = ()) -> NextStep:
    """Return how to score an input file that is changed: the same command would refuse it."""
    if state.takes_incremental:
        return run_again(purpose, command, [*flags, "--incremental"])
    if takes_edits(state, command):
        flags = [*flags, "--incremental"]
        return run_again(f"{purpose}, once no worker is running", without_share(command), flags)
    if "--shared-output" in command or has_flag(command, "--part-of"):
        return NextStep(f"{purpose}, name a new output")
    if not state.ok:  # no score would be lost
        return run_again(purpose, command, ["--overwrite"])
    return NextStep(f"{purpose}, name a new output, or replace this one with --overwrite")


def takes_edits(state: RunState, command: Sequence[str]) -> bool:
    """Whether the command, or one without its share, scores an input file that is changed."""
    return state.takes_incremental or (has_flag(command, "--part-of") and not has_flag(command, "--limit"))


def without_share(command: Sequence[str]) -> list[str]:
    """Return the command that scores everything, made of the command of a worker with a share."""
    return [word for word in without_flag(command, "--part-of") if word != "--shared-output"]


def with_share(command: Sequence[str], share: str) -> list[str]:
    """Return the command of a worker with this share, made of that of another worker."""
    words = without_flag(command, "--part-of")
    end = words.index("--") if "--" in words else len(words)
    return [*words[:end], "--part-of", share, *words[end:]]


def run_again(purpose: str, command: Sequence[str], flags: Sequence[str] = ()) -> NextStep:
    """Return the step that runs this command with these flags, or the same command again if it is unknown."""
    if command:
        # A shown command has no secret. Behind `--` there are only names.
        hidden = f" (put the secret in the place of {HIDDEN})" if HIDDEN in " ".join(command) else ""
        end = command.index("--") if "--" in command else len(command)
        new = [each for each in flags if each not in command]
        return NextStep(f"{purpose}, run{hidden}", shell_command([*command[:end], *new, *command[end:]]))
    more = f" with {' and '.join(flags)}" if flags else ""
    return NextStep(f"{purpose}, run the same command again{more}")


def has_flag(words: Sequence[str], flag: str) -> bool:
    """Whether a command has a flag with a value."""
    return any(word == flag or word.startswith(f"{flag}=") for word in words)


def goes_on(words: Sequence[str], reason: str, *, stopped: bool) -> list[str]:
    """Return a run's words without what would stop the next run too: a passed or short deadline, no rounds.

    `reason` says why the run ended. Unless that is why it `stopped`, 0 rounds still fetch what is submitted.
    """
    text = name_settings(reason, as_flag).lower()
    if re.search(r"\bdeadline (?:\d{4}-|.*would end like this again)", text):
        words = without_flag(words, "--deadline")
    sends_nothing = value_of(words, "--batch-rounds") == "0" and "--finish-live" not in words
    if sends_nothing and (re.search(r"\bbatch[-_]rounds 0 ", text) or not stopped):
        words = without_flag(words, "--batch-rounds")
    return [*words]


def value_of(words: Sequence[str], flag: str) -> str | None:
    """Return a flag's value in a command; the last one counts."""
    value = None
    for before, word in pairwise(["", *words]):
        if before == flag:
            value = word
        elif word.startswith(f"{flag}="):
            value = word.partition("=")[2]
    return value


def without_flag(words: Sequence[str], flag: str) -> list[str]:
    """Return a command's words without a flag and its value."""
    pairs = zip(["", *words], words, strict=False)
    return [word for before, word in pairs if flag not in {before, word} and not word.startswith(f"{flag}=")]
