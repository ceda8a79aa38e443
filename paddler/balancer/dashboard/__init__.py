"""The dashboard: a page of plain files that shows what the management API says."""

__all__: list[str] = []
