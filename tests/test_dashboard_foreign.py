"""Other web pages in the operator's browser: they can neither look at the fleet nor steer it."""

from __future__ import annotations

from typing import Any

from twisted.protocols.policies import WrappingFactory
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from tests.browsing import FAR_HOST
from tests.paging import PageCase, close
from tests.proxying import reactor

__all__ = ["ForeignPageTests"]

#: Tries what a page can try; what came of it is kept in the page.
_ATTACK = """
const [base, id, done] = arguments;
const drain = `${base}/api/v1/agents/${id}/drain`;
const came = async asking => {
  try {
    const response = await asking;
    return response.type === 'opaque' ? 'sent' : await response.text();
  } catch {
    return 'refused';
  }
};
const form = document.createElement('form');
form.method = 'POST';
form.action = drain;
form.target = 'frame';
const frame = document.createElement('iframe');
frame.name = 'frame';
document.body.append(form, frame);
const loaded = () => new Promise(resolve => { frame.onload = resolve; });
(async () => {
  const sent = loaded();
  form.submit();
  await sent;
  const found = {
    post: await came(fetch(drain, { method: 'POST', mode: 'no-cors', body: 'x' })),
    json: await came(fetch(drain, { method: 'POST', headers: { Authorization: 'Bearer x' } })),
    remove: await came(fetch(`${base}/api/v1/agents/${id}`, { method: 'DELETE' })),
    read: await came(fetch(`${base}/api/v1/agents`)),
    page: await came(fetch(`${base}/dashboard`)),
  };
  const framed = loaded();
  frame.src = `${base}/dashboard`;
  await framed;
  done(found);
})();
"""


class _Elsewhere(Resource):
    """An empty page."""

    isLeaf = True

    def render(self, request: Request) -> bytes:
        return b"<!doctype html><title>elsewhere</title>"


class ForeignPageTests(PageCase):
    """A page from elsewhere, without a token in its way."""

    allowed = (
        "CORS policy",
        "frame-ancestors",
        "net::ERR_FAILED",
        "403 (Forbidden)",
        "ERR_BLOCKED",
    )

    async def elsewhere(self) -> str:
        """The address of an empty page of another host."""
        served = WrappingFactory(Site(_Elsewhere()))
        listening: Any = reactor.listenTCP(0, served, interface="127.0.0.1")
        self.addCleanup(close, listening, served)
        return f"http://{FAR_HOST}:{listening.getHost().port}/"

    async def test_attacks(self) -> None:
        """Draining, removing, reading and framing all come to nothing."""
        await self.report("gpu-1")
        (agent,) = await self.agents()
        await self.do(self.browser.open, await self.elsewhere())
        base = f"http://127.0.0.1:{self.management}"
        run = self.browser.driver.execute_async_script
        found = await self.do(run, _ATTACK, base, agent["agent_id"])
        self.assertEqual(
            found,
            {
                "post": "sent",
                "json": "refused",
                "remove": "refused",
                "read": "refused",
                "page": "refused",
            },
        )
        self.assertEqual((await self.agents())[0]["draining"], False)

        def framed() -> list[str]:
            self.browser.driver.switch_to.frame("frame")
            seen = self.browser.texts("#say")
            self.browser.driver.switch_to.default_content()
            return seen

        self.assertEqual(await self.do(framed), [])
