"""Requests that have ended, for those who count them."""

from __future__ import annotations

from typing import Any

import msgspec

from paddler.balancer.accounts import Finished

__all__ = ["ended"]

_ENDED = Finished(
    request_id="r",
    method="POST",
    path="/completion",
    code=200,
    agent="gpu",
    waited=0.0,
    first_byte=0.2,
    seconds=1.0,
    sent=100,
    tries=1,
    left=None,
    cut=False,
)


def ended(**fields: Any) -> Finished:
    """A request that was answered by an agent's server at once, but for these fields."""
    return msgspec.structs.replace(_ENDED, **fields)
