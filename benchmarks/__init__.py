"""Benchmarks: `make bench` runs all of them. Nothing of them is installed with the package."""

__all__: list[str] = []
