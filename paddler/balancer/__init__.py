"""The balancer: agents report to it, clients are served through it."""

__all__: list[str] = []
