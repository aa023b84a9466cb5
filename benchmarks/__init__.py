"""Benchmarks of speed, memory and quality. Run `make bench` on an idle machine; they are not part of the tests."""
