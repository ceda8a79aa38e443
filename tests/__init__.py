"""The tests: `make test`, or `python -m twisted.trial tests`."""
