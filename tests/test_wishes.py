"""What a request's body asks of the fleet."""

from __future__ import annotations

import tracemalloc
from io import BytesIO

from twisted.trial.unittest import SynchronousTestCase

from paddler.balancer.bodies import FileBody, MemoryBody
from paddler.balancer.wishes import Wishes, wishes, wishes_of
from paddler.errors import MalformedRequest
from paddler.headers import RequestHeaders
from paddler.prompts import COMMAS


class WeightTests(SynchronousTestCase):
    """How many slots a body takes."""

    def test_weights(self) -> None:
        """As many as answers times prompts, inputs or documents."""
        for path, body, weight in (
            ("/completion", b'{"prompt":"a"}', 1),
            ("/completion", b'{"prompt":["a","b","c"]}', 3),
            ("/completion", b'{"prompt":["a","b"],"n":3}', 6),
            ("/v1/completions", b'{"prompt" : [ [1,2], "b" ] }', 2),
            ("/completion", b'{"prompt":[1,2,3]}', 1),
            ("/completion", b'{"prompt":[-1]}', 1),
            ("/completion", b'{"prompt":["a",3,"b"]}', 1),
            ("/completion", b'{"prompt":[]}', 1),
            ("/completion", b'{"prompt":{"prompt_string":"a"}}', 1),
            ("/completion", b'{"prompt":null}', 1),
            ("/v1/chat/completions", b'{"n":4,"prompt":["a","b"]}', 4),
            ("/v1/chat/completions", b'{"n_cmpl":2}', 2),
            ("/v1/chat/completions", b'{"n":2.0}', 2),
            ("/v1/chat/completions", b'{"n":2.5}', 2),
            ("/v1/chat/completions", b'{"n":0.3e1}', 3),
            ("/v1/chat/completions", b'{"n":3E0}', 3),
            ("/v1/chat/completions", b'{"n":1e9}', 65_536),
            ("/v1/chat/completions", b" " * 99 + b'{"n":2}', 2),
            ("/v1/chat/completions", b'\xef\xbb\xbf{"n":2}', 2),
            ("/v1/chat/completions", b'{"n":0}', 1),
            ("/v1/chat/completions", b'{"n":-2}', 1),
            ("/v1/chat/completions", b'{"n":"3"}', 1),
            ("/v1/chat/completions", b'{"n":null}', 1),
            ("/v1/chat/completions", b'{"n":99999999999999999999}', 1),
            ("/v1/embeddings", b'{"input":["a","b"]}', 2),
            ("/embedding", b'{"content":["a","b","c"]}', 3),
            ("/v1/embeddings", b'{"input":[1,2,3]}', 1),
            ("/v1/rerank", b'{"query":"q","documents":["a","b"]}', 2),
            ("/rerank", b'{"query":"q","texts":["a","b","c"]}', 3),
            ("/v1/messages", b'{"n":3}', 1),
            ("/infill", b'{"input_extra":[{}]}', 1),
        ):
            self.assertEqual(wishes(path, body), (Wishes(weight), body), body)

    def test_unreadable(self) -> None:
        """What can't be read takes one slot and is passed on as it is."""
        for body in (b"", b"{", b"[1]", b"3", b"\xff", b'{"a":"\xff"}', b"--form", b'{"a\0":1}'):
            self.assertEqual(wishes("/completion", body), (Wishes(), body))

    def test_nested(self) -> None:
        """What only llama-server can read might ask for more slots than it is counted for."""
        for depth in (900, 950, 975, 990, 1000, 1010, 100_000):
            for prompts in (False, True):
                for begin, end in ((b'{"id_slot":0,"prompt":', b"}"), (b'{"messages":', b"}")):
                    body = begin + b"[" * depth + b"]" * depth + end
                    try:
                        _, sent = wishes("/completion", body, prompts)
                    except MalformedRequest:
                        continue
                    self.assertLess(depth, 100_000)
                    self.assertNotIn(b"id_slot", sent)

    def test_behind_a_nul(self) -> None:
        """llama-server reads a body up to a NUL, so that what lies behind hides nothing."""
        body = b'{"id_slot":1,"prompt":["a","b"]}\0{'
        self.assertEqual(wishes("/completion", body), (Wishes(2), b'{"prompt":["a","b"]}'))

    def test_id_slot(self) -> None:
        """`id_slot` goes, however it is written; the rest stays as it is."""
        for body in (
            b'{"id_slot":1,"a":1.50,"b":[ 1 ]}',
            b'{"a":1.50,"id\\u005fslot":-1,"b":[ 1 ]}',
        ):
            self.assertEqual(wishes("/completion", body), (Wishes(), b'{"a":1.50,"b":[ 1 ]}'))

    def test_model(self) -> None:
        """The model is what the body calls so at its top, if that is a text."""
        for body, model in (
            (b'{"model":"m"}', "m"),
            (b'{"messages":[{"model":"x"}],"model" : "m\\u00e9\\"q"}', 'mé"q'),
            (b'{"model":"a","model":"b"}', "b"),
            (b'{"model":""}', ""),
            (b'{"model":3}', None),
            (b'{"model":null}', None),
            (b'{"options":{"model":"x"},"prompt":"\\"model\\":\\"y\\""}', None),
            (b'{"model":"\xff"}', None),
        ):
            self.assertEqual(wishes("/completion", body)[0].model, model, body)

    def test_long_model(self) -> None:
        """A model's name may be as long as a report's, also in a body whose texts are cut."""
        texts = [b'{"role":"user","content":"%b"}' % (b"x" * 9000)] * 4
        for name in ("m" * 600, "m" * 1024, ""):
            body = b'{"messages":[%b],"model":"%b"}' % (b",".join(texts), name.encode())
            self.assertEqual(wishes("/v1/chat/completions", body)[0], Wishes(1, name))


class PromptTests(SynchronousTestCase):
    """The prompt in a body."""

    def test_small(self) -> None:
        """A small body has none that matters, but for the session that it names."""
        for body, header, known in (
            (b'{"messages":[{"content":"Hi"}]}', None, False),
            (b'{"messages":[{"content":"Hi"}]}', b"s", True),
            (b'{"messages":[{"content":"Hi"}],"session_id":"s"}', None, True),
            (b'{"messages":[{"content":"%b"}]}' % (b"Hi " * 200), None, True),
        ):
            found, sent = wishes("/v1/chat/completions", body, True, header)
            self.assertEqual((found.prompt is not None, sent), (known, body), body)

    def test_odd_messages(self) -> None:
        """Messages that are none keep nothing else from being read."""
        for odd in (b'"text"', b"null", b"5", b'{"a":1}', b"[1,2]", b"[[]]"):
            body = b'{"messages":%b,"n":2,"model":"m","x":"%b"}' % (odd, b"y" * 600)
            found, _ = wishes("/v1/chat/completions", body, True)
            self.assertEqual((found.weight, found.model, found.prompt), (2, "m", None), odd)

    def test_very_many_items(self) -> None:
        """What is nothing but items takes no more than a few times its own bytes."""
        for path, begin, item, weight in (
            ("/v1/chat/completions", b'{"messages":[', b"1", 1),
            ("/v1/chat/completions", b'{"messages":[', b"{}", 1),
            ("/v1/chat/completions", b'{"tools":[{},', b"1", 1),
            ("/completion", b'{"prompt":["",', b'""', 65_536),
            ("/v1/rerank", b'{"documents":["",', b'""', 65_536),
        ):
            body = begin + b",".join([item] * 1_000_000) + b"]}"
            tracemalloc.start()
            found, _ = wishes(path, body, True)
            _, most = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            self.assertLess(most, 5 * len(body), begin)
            self.assertEqual(found.weight, weight)
            if found.prompt is not None:
                self.assertLess(len(found.prompt.tails) + len(found.prompt.chain), 512)

    def test_many_commas(self) -> None:
        """A long chat that is too much to be told apart still begins as it did."""
        text = b'{"role":"user","content":"%b"}' % (b"1,2,3," * 50_000)
        chains = []
        for count in (1, 2):
            body = b'{"messages":[%b]}' % b",".join([text] * count)
            found, _ = wishes("/v1/chat/completions", body, True)
            assert found.prompt is not None
            chains.append(found.prompt.chain)
        alike = len(chains[0]) - 1
        self.assertEqual(chains[0][:alike], chains[1][:alike])
        self.assertGreater(alike, 30)

    def test_nobody_asks(self) -> None:
        """Where nobody asks for it there is none."""
        body = b'{"messages":[{"content":"%b"}]}' % (b"Hi " * 200)
        self.assertIsNone(wishes("/v1/chat/completions", body)[0].prompt)

    def test_many_messages(self) -> None:
        """More messages than any chat has are not told apart, which takes long."""
        many = b'{"messages":[%b1]}' % (b"1," * (2 * COMMAS))
        found, sent = wishes("/v1/chat/completions", many, prompts=True)
        assert found.prompt is not None
        self.assertLess(len(found.prompt.tails), 10)
        self.assertIs(sent, many)

    def test_commas_in_texts(self) -> None:
        """A chat's messages are told apart however many commas are in their texts."""
        ends = []
        for last in (b"one", b"two"):
            chat = b'{"messages":[{"content":"%b"},{"content":"%b"}]}' % (
                b"1," * (2 * COMMAS),
                last,
            )
            prompt = wishes("/v1/chat/completions", chat, prompts=True)[0].prompt
            assert prompt is not None
            self.assertEqual(prompt.last, len(b'{"content":"one"}'))
            ends.append(prompt.ends[-1])
        self.assertEqual(ends[0], ends[1])


def form(*fields: tuple[str, bytes], ends: bool = True) -> bytes:
    """A form with these fields."""
    parts = [
        b'--XX\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (name.encode(), value)
        for name, value in fields
    ]
    return b"".join(parts) + (b"--XX--\r\n" if ends else b"")


class FormTests(SynchronousTestCase):
    """Bodies that are forms, as audio comes."""

    def model(self, body: bytes, kind: str = "multipart/form-data; boundary=XX") -> str | None:
        """The model that a body of that kind names."""
        for its in (MemoryBody(body), FileBody(BytesIO(body), len(body))):
            found, sent = wishes_of(
                "/v1/audio/transcriptions", its, RequestHeaders([(b"Content-type", kind.encode())])
            )
            self.assertIs(sent, its)
            self.assertEqual(found.weight, 1)
            self.assertEqual(sent.read(), body)
        return found.model

    def test_model(self) -> None:
        """Its field names the model, before or behind the audio."""
        audio = ("file", b'\r\n--X"model"' * 50_000)
        self.assertEqual(self.model(form(("model", b"whisper"), audio)), "whisper")
        self.assertEqual(self.model(form(audio, ("model", b"whisper"))), "whisper")
        quoted = 'Multipart/Form-Data; boundary="XX"'
        self.assertEqual(self.model(form(audio, ("model", "é".encode())), quoted), "é")
        self.assertEqual(self.model(form(audio, ("model", b"x" * 9999))), "x" * 1024)

    def test_no_model(self) -> None:
        """A form without one, one that is broken, and what is no form."""
        whole = form(("model", b"m"))
        for body in (b"", b"--XX", form(("models", b"m")), form(("model", b"m"), ends=False)):
            self.assertIsNone(self.model(body), body)
        for kind in ("", "application/json", "multipart/form-data", "multipart/mixed; boundary=XX"):
            self.assertIsNone(self.model(whole, kind), kind)
        self.assertIsNone(self.model(whole, "multipart/form-data; boundary=YY"))
