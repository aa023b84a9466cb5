"""Ablations and comparisons behind decisions of the past; not part of `make bench`."""
