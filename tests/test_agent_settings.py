"""Tests for paddler.agent.settings."""

from __future__ import annotations

import socket
from pathlib import Path

from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from paddler.agent.settings import AgentOptions, AgentSettings, HostKeys
from paddler.metadata import MetadataKey, MetadataService
from paddler.values import Address, agent_id_for


def parsed(*words: str, environment: dict[str, str] | None = None) -> AgentOptions:
    options = AgentOptions()
    options.environment = environment or {}
    options.parseOptions(list(words))
    return options


class AgentOptionsTests(SynchronousTestCase):
    """What command lines become."""

    def refusal(self, *words: str) -> str:
        code = self.assertRaises(SystemExit, parsed, *words).code
        self.assertIsInstance(code, str)
        self.assertNotIn("\n", str(code))
        return str(code)

    def secret(self, text: str) -> Path:
        path = Path(self.mktemp())
        path.write_text(text)
        return path.absolute()

    def test_defaults(self) -> None:
        """Without options, the defaults of the contract."""
        self.assertEqual(
            parsed().settings(),
            AgentSettings(
                local=Address("127.0.0.1", 8088),
                external=Address("127.0.0.1", 8088),
                management=Address("127.0.0.1", 8085),
                name=f"{socket.gethostname()}:8088",
                interval=1.0,
                llamacpp_key=None,
                management_token=None,
            ),
        )

    def test_everything(self) -> None:
        """Each option has its place in the settings."""
        key, token = self.secret("sk-1\n"), self.secret("tok\n")
        settings = parsed(
            "--local-llamacpp-host=llama_1",
            "--local-llamacpp-port=1",
            "--local-llamacpp-scheme=http",
            "--external-llamacpp-host=ext.example",
            "--external-llamacpp-port=2",
            "--external-llamacpp-scheme=https",
            f"--local-llamacpp-api-key-file={key}",
            "--management-host=::1",
            "--management-port=3",
            "--management-scheme=https",
            f"--management-token-file={token}",
            "--name=left one",
            "--reporting-interval=500ms",
        ).settings()
        self.assertEqual(
            settings,
            AgentSettings(
                local=Address("llama_1", 1),
                external=Address("ext.example", 2, "https"),
                management=Address("::1", 3, "https"),
                name="left one",
                interval=0.5,
                llamacpp_key="sk-1",
                management_token="tok",
            ),
        )

    def test_readme_command_line(self) -> None:
        """The command line of Paddler's own README is understood."""
        settings = parsed(
            *"--external-llamacpp-host 127.0.0.1 --external-llamacpp-port 8088"
            " --local-llamacpp-host 127.0.0.1 --local-llamacpp-port 8088"
            " --management-host 127.0.0.1 --management-port 8085".split()
        ).settings()
        self.assertEqual(settings, parsed().settings())

    def test_external_follows_local(self) -> None:
        """What isn't said of the external address is as local; the name has its port."""
        settings = parsed(
            "--local-llamacpp-host=h", "--local-llamacpp-port=81", "--external-llamacpp-host=e"
        ).settings()
        self.assertEqual(settings.external, Address("e", 81))
        self.assertEqual(settings.name, f"{socket.gethostname()}:81")

    def test_environment(self) -> None:
        """Options are also read from the environment."""
        options = parsed(environment={"PADDLER_LOCAL_LLAMACPP_API_KEY": "sk-2"})
        self.assertEqual(options.settings().llamacpp_key, "sk-2")

    def test_agent_id(self) -> None:
        """The id is made of name and external address."""
        settings = parsed("--name=n", "--external-llamacpp-port=7").settings()
        self.assertEqual(settings.agent_id, agent_id_for("n", Address("127.0.0.1", 7)))

    def test_secrets_are_not_shown(self) -> None:
        """Neither settings nor refusals show a secret."""
        settings = parsed("--local-llamacpp-api-key=sk-3").settings()
        self.assertEqual(settings.llamacpp_key, "sk-3")
        self.assertNotIn("sk-3", repr(settings))
        self.assertNotIn("sk 4", self.refusal("--local-llamacpp-api-key", "sk 4"))

    def test_key_given_twice(self) -> None:
        """A key and a key's file contradict each other."""
        said = self.refusal(
            "--local-llamacpp-api-key=k", f"--local-llamacpp-api-key-file={self.secret('k')}"
        )
        self.assertIn("--local-llamacpp-api-key-file", said)

    def test_bad_values(self) -> None:
        """Each refusal names its option."""
        for name, value in [
            ("reporting-interval", "0"),
            ("reporting-interval", "2h"),
            ("reporting-interval", "soon"),
            ("management-port", "0"),
            ("local-llamacpp-scheme", "ftp"),
            ("external-llamacpp-host", "aws:metadata:"),
            ("external-llamacpp-host", "aws:metdata:local-ipv4"),
            ("management-host", "aws:metadata:mac/"),
            ("management-host", "a..b"),
            ("local-llamacpp-host", "a" * 64 + ".example"),
            ("name", "n" * 129),
            ("name", ""),
            ("management-token-file", "/nowhere/at/all"),
        ]:
            self.assertIn(f"--{name}", self.refusal(f"--{name}={value}"))

    def test_host_keys(self) -> None:
        """Hosts may be keys of instance metadata; once they are told, the keys are kept."""
        options = parsed(
            "--external-llamacpp-host=aws:metadata:public-ipv4",
            "--management-host=aws:metadata:local-ipv4",
            "--aws-imdsv1",
            environment={"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1338"},
        )
        public, local = MetadataKey("public-ipv4"), MetadataKey("local-ipv4")
        keys = {"external-llamacpp-host": public, "management-host": local}
        self.assertEqual(options.metadata_keys, keys)
        options.settle_hosts({"external-llamacpp-host": "1.2.3.4", "management-host": "10.0.0.1"})
        settings = options.settings()
        self.assertEqual(settings.external, Address("1.2.3.4", 8088))
        self.assertEqual(settings.management, Address("10.0.0.1", 8085))
        service = MetadataService(Address("127.0.0.1", 1338), version_1=True)
        self.assertEqual(
            settings.host_keys, HostKeys(service, {"external": public, "management": local})
        )

    def test_external_key_follows_local(self) -> None:
        """An external address that is as local is so in this, too."""
        key = MetadataKey("local-ipv4")
        for words, keys in (
            ((), {"local": key, "external": key}),
            (("--external-llamacpp-host=e",), {"local": key}),
        ):
            options = parsed("--local-llamacpp-host=aws:metadata:local-ipv4", *words)
            options.settle_hosts({"local-llamacpp-host": "10.0.0.1"})
            settings = options.settings()
            assert settings.host_keys is not None
            self.assertEqual(settings.host_keys.keys, keys)

    def test_key_in_the_environment(self) -> None:
        """A key is one wherever it is given, and named as it was given."""
        options = parsed(
            "--local-llamacpp-host=aws:metadata:local-ipv4",
            environment={"PADDLER_MANAGEMENT_HOST": "aws:metadata:local-ipv4"},
        )
        self.assertEqual(
            [options.source(name) for name in options.metadata_keys],
            ["--local-llamacpp-host", "PADDLER_MANAGEMENT_HOST"],
        )

    def test_told_hosts_are_checked(self) -> None:
        """Instance metadata's hosts must fit as given ones do."""
        options = parsed("--external-llamacpp-host=aws:metadata:tags/instance/h")
        told = {"external-llamacpp-host": "0.0.0.0"}
        error = self.assertRaises(UsageError, options.settle_hosts, told)
        self.assertIn("--external-llamacpp-host: got '0.0.0.0'", str(error))
        options = parsed(
            "--management-scheme=https", "--management-host=aws:metadata:tags/instance/h_1"
        )
        error = self.assertRaises(UsageError, options.settle_hosts, {"management-host": "a_b"})
        self.assertIn("--management-host: got 'a_b'", str(error))

    def test_https_with_underscore(self) -> None:
        """No certificate is valid for a name with an underscore."""
        for words in (
            ("--management-host=a_b", "--management-scheme=https"),
            ("--external-llamacpp-host=a_b", "--external-llamacpp-scheme=https"),
            ("--external-llamacpp-host=a_b", "--local-llamacpp-scheme=https"),
        ):
            option, _, host = words[0].partition("=")
            self.assertIn(f"{option}: got {host!r}", self.refusal(*words))

    def test_token_in_the_environment(self) -> None:
        """The balancer's token may come from the environment."""
        settings = parsed(environment={"PADDLER_MANAGEMENT_TOKEN": "s3cret"}).settings()
        self.assertEqual(settings.management_token, "s3cret")

    def test_address_of_nobody(self) -> None:
        """What a server listens on is not always what others can connect to."""
        for host in ("0.0.0.0", "::"):
            said = self.refusal(f"--external-llamacpp-host={host}")
            self.assertIn(f"--external-llamacpp-host: got {host!r}", said)
