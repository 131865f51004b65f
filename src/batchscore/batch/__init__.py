"""How are rows answered by a service's Batch API? It keeps the contract of `engine/`: each row settled once.

Durable records are in the output (`output/submitted.py`). Bulky files are in a scratch folder, and may be
lost.
"""
