"""Speed and memory, measured: `make bench` on a quiet machine. Never part of a test."""
