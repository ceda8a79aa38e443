"""Puts hosts in place of the `aws:metadata:` keys that options were given, before a service starts.

For the roots: nothing below them sees a key where there must be a host.
"""

from __future__ import annotations

import sys

from twisted.python import usage

from paddler.ahead import run_ahead
from paddler.ec2 import InstanceMetadata, NoMetadata, read_hosts
from paddler.options import PaddlerOptions

__all__ = ["settle_hosts"]


def settle_hosts(options: PaddlerOptions) -> None:
    """Ask instance metadata for every host that options want from there.

    It is waited for; where nobody answers that takes some seconds.

    :raises SystemExit: one has none there; one line names the option and says why.
    """
    keys = options.metadata_keys
    if not keys:
        return
    try:
        service = options.metadata_service()
        hosts = run_ahead(
            lambda reactor: read_hosts(
                reactor, InstanceMetadata.to(reactor, service), list(dict.fromkeys(keys.values()))
            )
        )
        options.settle_hosts({name: hosts[key] for name, key in keys.items()})
    except NoMetadata as error:
        named = next(options.source(name) for name, key in keys.items() if key == error.key)
        sys.exit(f"{named}: got {str(error.key)!r}; {error.problem}")
    except usage.UsageError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)  # as a shell says of a process that Ctrl-C ended
