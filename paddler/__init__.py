"""Paddler: a slot-aware load balancer for stock llama.cpp servers."""

__version__ = "0.1.0"

__all__ = ["__version__"]
