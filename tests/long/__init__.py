"""Tests that take longer than `make test` may: `make test-long` runs every module here.

Their names do not start with `test_`, so that trial does not take them for the others.
"""
