"""Who gets which slot, and when: pure, with no I/O and no clock of its own."""

__all__: list[str] = []
