"""Benchmarks: they measure, and compare side by side in one run. Run each with ``python -m benchmarks.NAME``."""
