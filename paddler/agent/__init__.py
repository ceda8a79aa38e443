"""The agent: it watches one llama-server and reports to the balancer."""

__all__: list[str] = []
