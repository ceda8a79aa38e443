"""Agents' reports, however they came.

One a second from each agent: nothing here may be slow, or be logged each time.
"""

from __future__ import annotations

import re

import attrs

from paddler.balancer.admission import Admission
from paddler.balancer.refusals import RefusedReports
from paddler.errors import BodyTooLarge, MalformedRequest, PaddlerError
from paddler.values import Report

__all__ = ["AGENT_ID", "REPORT_LIMIT", "ReportDesk", "agent_id_of"]

#: The most bytes that a report may have.
REPORT_LIMIT = 1024 * 1024

AGENT_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")


def agent_id_of(raw: bytes) -> str:
    """An agent's id from a path.

    :raises MalformedRequest: it is none.
    """
    if AGENT_ID.fullmatch(raw) is None:
        raise MalformedRequest("agent_id: needs 1 to 128 of A-Z, a-z, 0-9, '.', '_' and '-'")
    return raw.decode("ascii")


@attrs.frozen(eq=False)
class ReportDesk:
    """Takes reports in.

    :param admission: where they go.
    :param refusals: remembers what was wrong with others.
    """

    _admission: Admission
    refusals: RefusedReports

    def take(self, raw_id: bytes, body: bytes, sender: str) -> bytes:
        """Take one in; returns what its agent is told.

        :param raw_id: the agent's id, as it came.
        :param sender: the address that it came from.
        :raises BodyTooLarge: it has more bytes than a report has.
        :raises MalformedReport: it can't be understood.
        :raises MalformedRequest: its agent's id is none.
        """
        try:
            agent_id = agent_id_of(raw_id)
            if len(body) > REPORT_LIMIT:
                raise BodyTooLarge(REPORT_LIMIT)
            report = Report.from_json(body)
        except PaddlerError as error:
            self.refusals.refused(sender, raw_id.decode("utf-8", "replace"), str(error))
            raise
        in_use = self._admission.report(agent_id, report)
        self.refusals.accepted(sender, agent_id)
        # The agent looks at its slots more often while some are in use.
        return b'{"status":"ok","slots_in_use":%d}' % in_use
