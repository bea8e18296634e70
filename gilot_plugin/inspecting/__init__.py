"""Attributions of another harness's logs: a scorer for inspect_ai."""
