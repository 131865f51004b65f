"""What does Azure ML's batch host call? The entry points of a scoring script."""

from batchscore.azureml.driver import init, run, shutdown

__all__ = ["init", "run", "shutdown"]
