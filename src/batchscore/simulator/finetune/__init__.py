"""How does the simulator fine-tune: uploads in parts, jobs, models, and deployments by Azure's management?

A project of the Batch API has it, too, with the same files, clock and faults, and with a meter of money.
"""
