"""Audit of a model against its base: paired samples, measures, tests. Reads artifacts, never a model."""
