"""Options of Paddler's commands: one table each, read in one way.

A value comes from the command line, else from the environment
(`PADDLER_MANAGEMENT_PORT` for `--management-port`), else it is the default. What
does not fit ends the command with one line that names the option, what was given
and what fits. Nothing here knows what an option is for.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import attrs
from twisted.python import usage

from paddler import __version__
from paddler.coercions import boolean, is_boolean, read_secret, secret, text
from paddler.metadata import MetadataKey, MetadataService

__all__ = ["AWS_IMDSV1", "Option", "PaddlerOptions"]


@attrs.frozen
class Option:
    """One option of a command.

    :param name: as it is written, without the dashes.
    :param coerce: from what was given to its value; raises ValueError saying what fits.
    :param default: the value when nothing was given.
    :param help: what it does, for people.
    :param shown: how the default reads in the help; None: as it is.
    :param repeatable: may be given several times (in the environment: with commas).
    :param secret: its value is never repeated, not even when it is wrong.
    """

    name: str
    coerce: Callable[[str], Any]
    default: Any
    help: str
    shown: str | None = None
    repeatable: bool = False
    secret: bool = False

    @property
    def variable(self) -> str:
        """The environment variable that gives its value."""
        return "PADDLER_" + self.name.upper().replace("-", "_")

    @property
    def shown_default(self) -> str | None:
        """How the default reads; None: it has none."""
        if self.shown is not None or self.default is None or self.repeatable:
            return self.shown
        return str(self.default).lower() if self.coerce is boolean else str(self.default)

    @property
    def doc(self) -> str:
        """The line of help."""
        shown = self.shown_default
        return f"{self.help} [default: {shown}]" if shown else self.help


#: For the commands whose hosts may be `aws:metadata:KEY`.
AWS_IMDSV1 = Option(
    "aws-imdsv1",
    boolean,
    False,
    "For hosts given as aws:metadata:KEY: allow version 1 of EC2's instance metadata.",
)


class PaddlerOptions(usage.Options):
    """The options of one command, given by its `table`.

    After parsing, `options[name]` is a checked value; `given` names the options that
    came from the command line or the environment; `remarks` are lines for the log;
    `metadata_keys` are the hosts that instance metadata has to tell, by option.
    """

    table: ClassVar[Sequence[Option]] = ()
    #: Options that the contract has and this version does not: refused by name.
    not_yet: ClassVar[frozenset[str]] = frozenset()
    environment: Mapping[str, str] = os.environ

    def __init__(self) -> None:
        self._by_name = {option.name: option for option in self.table}
        self.given: set[str] = set()
        self.remarks: list[str] = []
        self.metadata_keys: dict[str, MetadataKey] = {}
        self.secrets: dict[str, str | None] = {}
        self._raw: dict[str, list[str]] = {}
        super().__init__()

    def getUsage(self, width: int | None = None) -> str:
        """The help: every option with its default and its unit."""
        wide = max(len(option.name) for option in self.table) + 4
        lines = [self.getSynopsis().rstrip(), "Options:"]
        lines += [f"  {'--' + o.name + '=':<{wide}} {o.doc}" for o in self.table]
        lines += [
            f"  {'--help':<{wide}} Show this help and exit.",
            f"  {'--version':<{wide}} Show Paddler's version and exit.",
            "Booleans take true or false; durations 500ms, 60s or 2m. Every option can also be",
            "given in the environment: PADDLER_ and its name in capitals with underscores.",
        ]
        return "\n".join(lines) + "\n"

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Read the command line and the environment; end the process where they don't fit."""
        try:
            self._read(list(sys.argv[1:] if options is None else options))
            self._settle()
            self.postOptions()
        except usage.UsageError as error:
            sys.exit(str(error))

    def _read(self, words: list[str]) -> None:
        """Take the command line apart.

        usage.Options leaves this to getopt, which knows no option with an optional value (a
        bare boolean means true) and takes any unique beginning for the whole name.
        """
        while words:
            word = words.pop(0)
            if word in ("--help", "-h"):
                print(self.getUsage(), end="")
                sys.exit(0)
            if word == "--version":
                print(f"paddler {__version__}")
                sys.exit(0)
            name, equals, value = word[2:].partition("=")
            if not word.startswith("--") or not name:
                raise usage.UsageError(f"{word}: not an option; all of them start with --")
            option = self._by_name.get(name)
            if option is None:
                raise usage.UsageError(self._unknown(name))
            if not equals:
                value = self._value_after(option, words)
            if name in self._raw and not option.repeatable:
                raise usage.UsageError(f"--{name}: given twice")
            self._raw.setdefault(name, []).append(value)

    def _value_after(self, option: Option, words: list[str]) -> str:
        if option.coerce is boolean:
            said = bool(words) and is_boolean(words[0])
            return words.pop(0) if said else "true"
        if not words or words[0].startswith("--"):
            raise usage.UsageError(f"--{option.name}: needs a value")
        return words.pop(0)

    def _unknown(self, name: str) -> str:
        if name in self.not_yet:
            return f"--{name}: not built into this version of Paddler"
        near = difflib.get_close_matches(name, self._by_name, n=1)
        hint = f"; did you mean --{near[0]}?" if near else "; see --help"
        return f"--{name}: no such option{hint}"

    def _settle(self) -> None:
        """Give every option its value."""
        for name in sorted(self.not_yet):
            variable = Option(name, text, None, "").variable
            if variable in self.environment:
                raise usage.UsageError(f"{variable}: not built into this version of Paddler")
        for option in self.table:
            source, raws = self.source(option.name), self._raw.get(option.name)
            if raws is None:
                raws = self._from_environment(option)
            if raws is None:
                self[option.name] = option.default
                continue
            self.given.add(option.name)
            values = [self._coerced(option, source, raw) for raw in raws]
            self[option.name] = tuple(values) if option.repeatable else values[-1]
            if isinstance(values[-1], MetadataKey):
                self.metadata_keys[option.name] = values[-1]

    def source(self, name: str) -> str:
        """How an option that was given is named to who gave it."""
        return f"--{name}" if name in self._raw else self._by_name[name].variable

    def metadata_service(self) -> MetadataService:
        """Where instance metadata is asked for hosts.

        :raises usage.UsageError: what the environment says of that does not fit.
        """
        return MetadataService.from_environment(self.environment, version_1=self["aws-imdsv1"])

    def settle_hosts(self, hosts: Mapping[str, str]) -> None:
        """Put hosts in place of `metadata_keys`.

        :raises usage.UsageError: one does not fit its option.
        """
        self.update(hosts)
        self.check_hosts()

    def check_hosts(self) -> None:
        """See that hosts fit their options; keys in place of them are for later.

        :raises usage.UsageError: one does not.
        """

    def _from_environment(self, option: Option) -> list[str] | None:
        raw = self.environment.get(option.variable)
        if raw is None:
            return None
        if option.name.endswith("-port") and raw.startswith("tcp://"):
            self.remarks.append(f"{option.variable} is Kubernetes' own and is ignored")
            return None
        return [part.strip() for part in raw.split(",")] if option.repeatable else [raw]

    def _coerced(self, option: Option, source: str, raw: str) -> Any:
        try:
            return option.coerce(raw)
        except ValueError as error:
            got = "the value given does not fit" if option.secret else f"got {raw!r}"
            raise usage.UsageError(f"{source}: {got}; it needs {error}") from None

    def read_secrets(self, *names: str) -> None:
        """Read secrets, each from the file that `--NAME-file` names or from the environment.

        :raises usage.UsageError: one does not fit, or is given in both ways.
        """
        for name in names:
            option, variable = f"{name}-file", Option(name, text, None, "").variable
            given, path = self.environment.get(variable), self[option]
            if given is not None and path is not None:
                raise usage.UsageError(f"--{option} and {variable} contradict each other; give one")
            try:
                self.secrets[name] = secret(given) if path is None else read_secret(path)
            except ValueError as error:
                source = variable if path is None else f"--{option}"
                raise usage.UsageError(f"{source}: it needs {error}") from None

    def exclude(self, name: str, *others: str) -> None:
        """Refuse `name` beside any of `others`.

        :raises usage.UsageError: naming both.
        """
        for other in others:
            if name in self.given and other in self.given:
                raise usage.UsageError(f"--{name} and --{other} contradict each other; give one")
