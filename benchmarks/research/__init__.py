"""Ablations and comparisons that past decisions are based on; not part of `make bench`."""
