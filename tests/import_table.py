"""Which room may import which? One table: a test holds the code to it, and the docs show it."""

from __future__ import annotations

#: What every room may use: the nouns that flow, the errors and the tasks.
NOUNS = {"errors", "rows", "task", "version"}

#: What each room may import, besides itself and the nouns. Imports run one way: the rooms below in this
#: table are the doors, the ones above know nothing of them. docs/explanation/architecture.md shows it.
MAY_IMPORT: dict[str, set[str]] = {
    "settings": set(),
    "stores": set(),
    "simulator": set(),
    "read": {"stores"},
    "request": {"stores"},
    "prompts": {"settings"},
    "endpoint": {"settings", "simulator"},
    "provider": {"endpoint"},
    "engine": {"endpoint", "prompts", "request", "settings"},
    "output": {"prompts", "read", "settings", "stores"},
    "batch": {"endpoint", "engine", "output", "prompts", "provider", "request", "settings"},
    "mlflow_model": {"prompts", "settings"},
    "api": {"endpoint", "engine", "mlflow_model", "output", "prompts", "run", "settings", "stores"},
    "plan": {"batch", "output", "prompts", "provider", "read", "request", "settings", "simulator", "stores"},
    "report": {"output", "settings", "stores"},
    "run": {"batch", "endpoint", "engine", "output", "plan", "read", "report", "settings", "stores"},
    "evaluate": {"output", "read", "report", "settings", "stores"},
    "finetune": {
        *("endpoint", "output", "plan", "prompts", "provider", "read", "report", "settings", "stores"),
    },
    "azureml": {"endpoint", "mlflow_model", "prompts", "read", "report", "run", "settings"},
    "cli": {
        *("azureml", "evaluate", "finetune", "mlflow_model", "output", "plan", "report", "run", "settings"),
        "simulator",
        "stores",
    },
}

#: The top of the package: the public names and the command.
TOP = {
    "__init__": {"api", "mlflow_model"},
    "__main__": {"cli"},
    "errors": {"settings"},  # how secrets look, which no message shows
    "rows": set(),
    "task": set(),
    "version": set(),
}
