"""`python -m paddler`: the same as the `paddler` command."""

from paddler.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
