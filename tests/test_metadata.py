"""Tests for paddler.metadata: keys, and where they are asked for."""

from __future__ import annotations

from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from paddler.metadata import MetadataKey, MetadataService
from paddler.values import Address

__all__ = ["MetadataKeyTests", "MetadataServiceTests"]


class MetadataKeyTests(SynchronousTestCase):
    """What follows `aws:metadata:`."""

    def test_keys(self) -> None:
        """Categories, paths with MAC addresses, and tags."""
        for name in (
            "local-ipv4",
            "network/interfaces/macs/02:29:96:8f:6a:2d/public-ipv4s",
            "tags/instance/Host_1.a+b=c@d",
        ):
            raw = f"aws:metadata:{name}"
            self.assertEqual(MetadataKey.read(raw), MetadataKey(name))
            self.assertEqual(str(MetadataKey(name)), raw)

    def test_no_key(self) -> None:
        """Anything else is for others to read."""
        for raw in ("localhost", "aws", "aws:meta", "::1", ""):
            self.assertIsNone(MetadataKey.read(raw))

    def test_refused(self) -> None:
        """Lists, and what would lead elsewhere."""
        for name in ("", "/", "mac/", "/mac", "a//b", "..", "a/../b", "./a", "a/.", "a b", "a?b"):
            error = self.assertRaises(ValueError, MetadataKey.read, f"aws:metadata:{name}")
            self.assertIn("local-ipv4", str(error))


class MetadataServiceTests(SynchronousTestCase):
    """The environment that AWS SDKs read."""

    def test_default(self) -> None:
        """Where every instance finds it; nothing is connected to here."""
        for environment, address in (
            ({}, Address("169.254.169.254", 80)),
            ({"AWS_EC2_METADATA_DISABLED": "false"}, Address("169.254.169.254", 80)),
            ({"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "IPv6"}, Address("fd00:ec2::254", 80)),
            ({"AWS_EC2_METADATA_SERVICE_ENDPOINT": ""}, Address("169.254.169.254", 80)),
        ):
            service = MetadataService.from_environment(environment)
            self.assertEqual(service, MetadataService(address))
        self.assertEqual(str(service), "http://169.254.169.254")

    def test_endpoint(self) -> None:
        """A URL of one's own goes before the mode."""
        for url, service in (
            ("http://localhost:1338", MetadataService(Address("localhost", 1338))),
            ("http://127.0.0.1:1338/", MetadataService(Address("127.0.0.1", 1338))),
            ("https://imds_1/a/b/", MetadataService(Address("imds_1", 443, "https"), "/a/b")),
            ("http://[::1]:8", MetadataService(Address("::1", 8))),
        ):
            environment = {
                "AWS_EC2_METADATA_SERVICE_ENDPOINT": url,
                "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "ipv6",
            }
            self.assertEqual(MetadataService.from_environment(environment), service)
            self.assertEqual(str(service), url.rstrip("/"))

    def test_version_1(self) -> None:
        """Version 1 is for who asks for it."""
        self.assertFalse(MetadataService.from_environment({}).version_1)
        self.assertTrue(MetadataService.from_environment({}, version_1=True).version_1)

    def test_refused(self) -> None:
        """One line names the variable, what was given, and what fits."""
        for name, value, fits in (
            ("AWS_EC2_METADATA_DISABLED", "TRUE", "false"),
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "IPv5", "IPv4 or IPv6"),
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "127.0.0.1", "http://169.254.169.254"),
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "ftp://h", "http://169.254.169.254"),
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://", "http://169.254.169.254"),
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://h:port", "http://169.254.169.254"),
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://u:p@h", "http://169.254.169.254"),
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://h?x", "http://169.254.169.254"),
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://h/a b", "http://169.254.169.254"),
        ):
            error = self.assertRaises(UsageError, MetadataService.from_environment, {name: value})
            line = str(error)
            self.assertIn(f"{name}: got {value!r}", line)
            self.assertIn(fits, line)
            self.assertNotIn("\n", line)
