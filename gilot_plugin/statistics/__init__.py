"""Paired tests, families of tests, power, intervals: for all that makes claims. Knows numbers alone."""
