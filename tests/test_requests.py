"""What a request asks of the fleet."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from paddler.balancer.requests import (
    Destination,
    Doors,
    destination,
    named_in,
    target_of,
)
from paddler.errors import AdminEndpointDisabled, MalformedRequest, SlotsEndpointDisabled

SLOT_PATHS = """/completion /completions /v1/completions /chat/completions /v1/chat/completions
/api/chat /v1/responses /responses /v1/messages /infill /embedding /embeddings /v1/embeddings
/rerank /reranking /v1/rerank /v1/reranking /v1/audio/transcriptions /audio/transcriptions
/anything""".split()
FREE_PATHS = """/tokenize /detokenize /apply-template /v1/responses/input_tokens
/v1/messages/count_tokens""".split()


class TargetTests(SynchronousTestCase):
    """Request targets."""

    def test_paths(self) -> None:
        """The path is decoded and normalised to match with; what is sent on is as it came."""
        for uri, path, sent in (
            (b"/a?b=%2F", "/a", b"/a?b=%2F"),
            (b"/%73lots", "/slots", b"/%73lots"),
            (b"//slots", "/slots", b"//slots"),
            (b"/x/../slots/", "/slots", b"/x/../slots/"),
            (b"/./slots", "/slots", b"/./slots"),
            (b"/slots%2F0", "/slots/0", b"/slots%2F0"),
            (b"/../..", "/", b"/../.."),
            (b"http://h:1/a?b", "/a", b"/a?b"),
            (b"HTTPS://h", "/", b"/"),
            (b"http://h?b", "/", b"/?b"),
            (b"/%FF", "/\xff", b"/%FF"),
            (b"/a?u=http://h/b", "/a", b"/a?u=http://h/b"),
        ):
            target = target_of(uri)
            self.assertEqual((target.path, target.sent), (path, sent), uri)

    def test_not_a_path(self) -> None:
        """What is no path is refused."""
        odd = (b"/slots#x", b"/metrics#", b"/%u0073lots", b"/%", b"/a%2", b"/a?b#c")
        for uri in (b"*", b"host:80", b"ftp://h/a", b"", b"a/b", *odd):
            self.assertRaises(MalformedRequest, target_of, uri)

    def test_model_in_the_target(self) -> None:
        """A query may name the model too."""
        for uri, model in (
            (b"/props?model=m", "m"),
            (b"/props?a=1&model=m%2Fx+y", "m/x y"),
            (b"/props?model=%C3%A9", "\u00e9"),
            (b"/props?models=m", None),
            (b"/props?model=", None),
            (b"/props", None),
        ):
            self.assertEqual(named_in(target_of(uri)), model, uri)


class DestinationTests(SynchronousTestCase):
    """Where requests go."""

    def test_posts(self) -> None:
        """POSTs take slots, but for the few that don't."""
        for path in SLOT_PATHS:
            self.assertIs(destination(b"POST", path, Doors()), Destination.SLOT, path)
        for path in FREE_PATHS:
            self.assertIs(destination(b"POST", path, Doors()), Destination.ANY, path)

    def test_others(self) -> None:
        """What is no POST takes no slot; health is answered here."""
        for method in (b"GET", b"HEAD", b"OPTIONS", b"DELETE"):
            self.assertIs(destination(method, "/v1/responses", Doors()), Destination.ANY)
        for path in ("/health", "/v1/health"):
            self.assertIs(destination(b"GET", path, Doors()), Destination.HEALTH)
            self.assertIs(destination(b"OPTIONS", path, Doors()), Destination.ANY)
        for path in ("/models", "/v1/models", "/v1/models/m", "/v1/models/org/m:Q4"):
            self.assertIs(destination(b"GET", path, Doors()), Destination.MODELS)
            self.assertIs(destination(b"HEAD", path, Doors()), Destination.MODELS)
            self.assertIs(destination(b"OPTIONS", "/v1/models", Doors()), Destination.ANY)

    def test_closed(self) -> None:
        """What is closed is closed for every method that it is closed for, and no other path."""
        for path in ("/slots",):
            self.assertRaises(SlotsEndpointDisabled, destination, b"GET", path, Doors(admin=True))
        closed = """/slots/0 /metrics /models/load /models/a/b /lora-adapters /cvectors
            /cvectors/0 /tools /cors-proxy""".split()
        for path in closed:
            for method in (b"GET", b"POST", b"HEAD"):
                error = self.assertRaises(
                    AdminEndpointDisabled, destination, method, path, Doors(slots=True)
                )
                self.assertIn(path, str(error))
            self.assertIsNotNone(destination(b"GET", path, Doors(admin=True)))
        self.assertRaises(AdminEndpointDisabled, destination, b"POST", "/props", Doors())
        for path in ("/props", "/", "/slotsmachine", "/toolsmith"):
            self.assertIs(destination(b"GET", path, Doors()), Destination.ANY, path)
