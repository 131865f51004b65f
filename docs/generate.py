"""Write the pages that are made from code: `python docs/generate.py`. A test holds them to it."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from batchscore.declared import CONFIG_FILE, CONFIG_VARIABLE, flag_of, shown_default, variable_of
from batchscore.settings import Settings

HEAD = f"""# Settings

Made from the code by `docs/generate.py`. A flag beats its variable, a variable beats `{CONFIG_FILE}` (in the
working folder, or named with `--config` or `{CONFIG_VARIABLE}`), and the file beats the default. The variable
names a file for Azure ML, Python and MLflow models, too. A file's key is the flag's name without the dashes:
`max_tokens = 200`, `keep = ["title"]`, and for parameters a table, `[param]`. In a
variable several names have commas between (`BATCHSCORE_KEEP=title,lang`), and parameters are a JSON object
(`BATCHSCORE_PARAM='{{"temperature": 0.2}}'`). A `BATCHSCORE_…` variable that nothing reads is told. Keys and
tokens are no settings: they are read from the environment only, see [endpoints](endpoints.md).
"""


def settings_page() -> str:
    """Return docs/settings.md."""
    groups: dict[str, list[str]] = {}
    for declared in fields(Settings):
        facts = declared.metadata
        names = f"`{flag_of(declared)}`" + (f" `{facts['flag']}`" if facts["flag"] else "")
        variable = "flag only" if facts["only_flag"] else f"`{variable_of(declared)}`"
        if facts["only_file"]:
            names, variable = f"`[[{declared.name}]]`", "file only"
        silent = facts["kind"] in {"params", "flag"} or declared.default in (None, ())
        default = "" if silent else f"`{shown_default(declared)}`"
        choices = f" ({', '.join(facts['choices'])})" if facts["choices"] else ""
        row = f"| {names} | {facts['help']}{choices} | {default} | {variable} |"
        groups.setdefault(facts["group"], []).append(row)
    pages = [HEAD]
    for group, rows in groups.items():
        table = "\n".join(
            ["| flag | what it does | default | variable |", "| --- | --- | --- | --- |", *rows]
        )
        pages.append(f"\n## {group}\n\n{table}\n")
    return "".join(pages)


if __name__ == "__main__":
    Path(__file__).with_name("settings.md").write_text(settings_page(), "utf-8")
