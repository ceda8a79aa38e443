"""Paddler's two commands for twistd.

Every `twistd --help` imports this file, so it names the modules that do the work
and imports none of them.
"""

from twisted.application.service import ServiceMaker

__all__ = ["agent", "balancer"]

balancer = ServiceMaker(
    "Paddler balancer",
    "paddler.balancer.plugin",
    "Share llama.cpp servers by their free slots.",
    "paddler-balancer",
)

agent = ServiceMaker(
    "Paddler agent",
    "paddler.agent.plugin",
    "Report one llama.cpp server's slots to a Paddler balancer.",
    "paddler-agent",
)
