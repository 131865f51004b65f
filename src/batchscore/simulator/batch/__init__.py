"""How does the simulator answer the Batch API: files of requests, and batches that run them?

Tests script it through `rules` and `faults`, which load neither aiohttp nor orjson.
"""
