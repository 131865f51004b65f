"""The control plane of a service: files, batches, training jobs and deployments, through the official SDK.

It says what a service offers, and whether a call that costs money has surely happened, surely not, or neither
is known. It knows no rows, no outputs and no strategy.
"""
