"""How large may things be, and how are they named? Functions, dataclasses, classes, settings in messages."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from dataclasses import fields
from itertools import pairwise

from batchscore.settings.fields import Settings
from source_trees import nodes_of, trees

#: A function with more parameters should take an object.
MOST_PARAMETERS = 7
MORE_PARAMETERS = {
    "save_model": "public: its settings are keywords, as in `score_files`",
}

#: A dataclass with more fields should be two.
MOST_FIELDS = 15
WIDER = {
    "Settings": "every setting is a field; stages get slices of it",
    "Chunk": "it is the record of one batch, of which each step adds to what is known",
    "Engine": "half of its fields are the state of the running engine, which no one sets",
    "FileFigures": "each field is one count of what was read",
    "JoinCounts": "each field is one count of what was joined",
    "Deployment": "it joins quota, health, concurrency and the queue of workers",
    "Limits": "each source of a limit has a state of its own",
    "RetryBudget": "each field counts one kind of failure, and they are judged together",
    "Behaviour": "each field is one thing that a test may make the simulator do",
    "BatchRules": "each field is one rule that a test may change",
    "FineTuneRules": "each field is one rule that a test may change",
    "SimulatorSettings": "each field is one flag of `batchscore simulate`",
}

#: Class names that two modules share on purpose.
SHARED_NAMES: dict[str, str] = {}

#: Methods that are written twice on purpose.
OVERRIDES = {"CutFile.open overrides that of InputFile": "a file that gives only some stretches"}

#: What writes a plural itself.
PLURALS = {
    "errors.py": "`count_text`",
    "endpoint/describe.py": "names follow the noun, not a count",
    "read/arrow_cells.py": "an interval is written as DuckDB writes it",
}

#: Names in messages that are no settings: an argument of `save_model`, and the file that holds settings.
ARGUMENTS = {"requirement", "config"}

#: What words flags: the command line, the simulator's own, help, advice with commands, recorded commands.
OF_THE_COMMAND_LINE = (
    "cli/",
    "simulator/",
    "settings/fields.py",
    "settings/service_fields.py",
    "settings/secrets.py",
    "report/advice.py",
)


def test_functions_take_few_parameters() -> None:
    found = {}
    for module, tree in trees().items():
        for node in nodes_of(tree, ast.FunctionDef) + nodes_of(tree, ast.AsyncFunctionDef):
            names = [one.arg for one in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            count = len([name for name in names if name not in {"self", "cls"}])
            if count > MOST_PARAMETERS:
                found[node.name] = f"{module}: {count}"
    assert found.keys() == MORE_PARAMETERS.keys(), found


def test_dataclasses_are_narrow() -> None:
    found = {}
    for module, tree in trees().items():
        for node in nodes_of(tree, ast.ClassDef):
            if any("dataclass" in ast.unparse(one) for one in node.decorator_list):
                count = sum(
                    isinstance(one, ast.AnnAssign) and "ClassVar" not in ast.unparse(one.annotation)
                    for one in node.body
                )
                if count > MOST_FIELDS:
                    found[node.name] = f"{module}: {count}"
    assert found.keys() == WIDER.keys(), found


def test_a_class_name_means_one_thing() -> None:
    found: dict[str, list[str]] = defaultdict(list)
    for module, tree in trees().items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                found[node.name].append(module)
    assert not {
        name: places for name, places in found.items() if len(places) > 1 and name not in SHARED_NAMES
    }


def test_no_method_overrides_one_that_does_something() -> None:
    """A class implements what its base leaves abstract; other differences are arguments or functions."""
    classes = {node.name: node for tree in trees().values() for node in nodes_of(tree, ast.ClassDef)}
    found = []
    for node in classes.values():
        own = {one.name for one in functions_of(node) if not one.name.startswith("__")}
        above = [ast.unparse(base) for base in node.bases]
        while above:
            base = classes.get(above.pop())
            if base is not None and "Protocol" not in map(ast.unparse, base.bases):
                above += map(ast.unparse, base.bases)
                written = {one.name for one in functions_of(base) if not is_abstract(one)}
                found += [
                    f"{node.name}.{name} overrides that of {base.name}" for name in sorted(own & written)
                ]
    assert set(found) == OVERRIDES.keys()


def functions_of(node: ast.ClassDef) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [one for one in node.body if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef))]


def is_abstract(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any("abstract" in ast.unparse(one) for one in function.decorator_list)


def test_messages_name_settings_that_exist() -> None:
    known = {declared.name for declared in fields(Settings)} | ARGUMENTS
    for module, tree in trees().items():
        for node in nodes_of(tree, ast.Call):
            if getattr(node.func, "id", "") == "setting_name":
                name, *_ = node.args
                if isinstance(name, ast.Constant):
                    assert name.value in known, f"{module}: {name.value} is not a setting"


def test_a_value_is_within_the_mark_of_its_setting() -> None:
    """So that Python shows `quote="none"`, and a terminal `--quote none`."""
    values = {each.name: {*(each.metadata["choices"] or ("none",))} for each in fields(Settings)}
    found = []
    for module, tree in trees().items():
        for node in nodes_of(tree, ast.JoinedStr):
            for mark, after in pairwise(map(ast.unparse, node.values)):
                name = re.search(r"setting_name\('(\w+)'\)", mark)
                word = re.match(r"' (\w+)", after)
                if name and word and word[1] in values.get(name[1], ()):
                    found.append(f"{module}:{node.lineno} {name[1]} {word[1]}")
    assert not found


def test_one_function_writes_a_count_with_its_noun() -> None:
    """`count_text` does; a message that writes the plural itself is the next one that says `1 rows`."""
    found = [
        f"{module}:{node.lineno} {ast.unparse(node)}"
        for module, tree in trees().items()
        for node in nodes_of(tree, ast.IfExp)
        if [ast.unparse(each) for each in (node.body, node.orelse)] in (["''", "'s'"], ["'s'", "''"])
    ]
    assert {each.partition(":")[0] for each in found} == PLURALS.keys(), found


def test_only_the_command_line_speaks_of_flags() -> None:
    """Elsewhere a message names a setting by `setting_name`, and each door words it."""
    flags = {"--" + declared.name.replace("_", "-") for declared in fields(Settings)}
    found = []
    for module, tree in trees().items():
        if module.startswith(OF_THE_COMMAND_LINE):
            continue
        docstrings = {
            id(node.value) for node in nodes_of(tree, ast.Expr) if isinstance(node.value, ast.Constant)
        }
        for node in nodes_of(tree, ast.Constant):
            if not isinstance(node.value, str) or "--" not in node.value:
                continue
            # A whole command, as in the record of a lock, is no message.
            if id(node) not in docstrings and not node.value.startswith("batchscore "):
                named = flags & set(re.findall(r"--[a-z][a-z-]*[a-z]", node.value))
                found += [f"{module}:{node.lineno} {name}" for name in sorted(named)]
    assert not found
