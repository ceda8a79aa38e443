"""Where the agent's servers are, as instance metadata tells it while the agent runs.

A public address is another after each stop and start of the instance, also when that is a
hibernation, from which the agent wakes up in the midst of what it did; and an Elastic IP address
comes and goes at any time. Nothing here knows what is done about it.
"""

from __future__ import annotations

import attrs
import msgspec
from twisted.logger import Logger

from paddler.agent.settings import AgentSettings, HostKeys
from paddler.ec2 import InstanceMetadata, NoMetadata

__all__ = ["LOOK_EVERY", "Whereabouts"]

#: Seconds from one reading to the next. Nothing tells of a change; this is one small request
#: of the 1024 packets that an instance may exchange with its metadata service each second.
LOOK_EVERY = 60.0


@attrs.define(eq=False)
class Whereabouts:
    """Reads again the hosts that instance metadata told.

    :param metadata: tells them.
    :param host_keys: which ones those are.
    :param settings: with the hosts as they were told last.
    """

    _metadata: InstanceMetadata
    _host_keys: HostKeys
    _settings: AgentSettings
    log = Logger()
    _trouble: str | None = attrs.field(default=None, init=False)

    async def look(self) -> AgentSettings | None:
        """Read them.

        :returns: the settings as they are now; None: nothing has changed, or can't be told.
        """
        settings = self._settings
        try:
            for name, key in self._host_keys.keys.items():
                host = await self._metadata.host(key)
                address = msgspec.structs.replace(getattr(settings, name), host=host)
                settings = attrs.evolve(settings, **{name: address})
        except NoMetadata as error:
            self._has_trouble(error.problem)
            return None
        self._has_trouble(None)
        before, self._settings = self._settings, settings
        return settings if settings != before else None

    def _has_trouble(self, trouble: str | None) -> None:
        """Say once that nothing can be read, and once that it can again."""
        if trouble == self._trouble:
            return
        self._trouble = trouble
        if trouble is None:
            self.log.info("instance metadata tells its hosts again")
        else:
            self.log.warn("hosts stay as they were told by instance metadata: {why}", why=trouble)
