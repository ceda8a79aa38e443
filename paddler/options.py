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
from paddler.coercions import boolean, is_boolean, read_secret, secret, shape_of, text
from paddler.completions import completions, parameters
from paddler.metadata import MetadataKey, MetadataService
from paddler.usage_text import HARD_SPACE, Section, usage_text

__all__ = ["AWS_IMDSV1", "Option", "PaddlerOptions"]


@attrs.frozen
class Option:
    """One option of a command.

    :param name: as it is written, without the dashes.
    :param coerce: from what was given to its value; raises ValueError saying what fits.
    :param default: the value when nothing was given.
    :param help: what it does, for people.
    :param shown: what the help says instead of the default.
    :param heading: what it and the options after it stand under in the help; None: they go on
        under the one before.
    :param repeatable: may be given several times (in the environment: with commas).
    :param secret: its value is never repeated, not even when it is wrong.
    """

    name: str
    coerce: Callable[[str], Any]
    default: Any
    help: str
    shown: str | None = None
    heading: str | None = None
    repeatable: bool = False
    secret: bool = False

    @property
    def variable(self) -> str:
        """The environment variable that gives its value."""
        return "PADDLER_" + self.name.upper().replace("-", "_")

    @property
    def default_text(self) -> str | None:
        """The default as one would write it; None: there is none."""
        if self.shown is not None or self.default in (None, ()):
            return self.shown
        shape = shape_of(self.coerce)
        if shape == "DURATION":
            whole = self.default >= 1
            return f"{self.default:g}s" if whole else f"{self.default * 1000:g}ms"
        if shape == "SIZE":
            return f"{self.default / 2**20:g}MiB"
        return str(self.default).lower() if self.coerce is boolean else str(self.default)

    @property
    def doc(self) -> str:
        """What the help says of it."""
        said = f"{self.help} Repeatable." if self.repeatable else self.help
        if self.default_text is None:
            return said
        return f"{said} [default:{HARD_SPACE}{self.default_text}]"


#: For the commands whose hosts may be `aws:metadata:KEY`.
AWS_IMDSV1 = Option(
    "aws-imdsv1",
    boolean,
    False,
    "For hosts given as aws:metadata:KEY: allow version 1 of instance metadata.",
    heading="On EC2",
)


class PaddlerOptions(usage.Options):
    """The options of one command, given by its `table`.

    After parsing, `options[name]` is a checked value; `given` names the options that
    came from the command line or the environment; `remarks` are lines for the log;
    `metadata_keys` are the hosts that instance metadata has to tell, by option.
    """

    #: The words before the options; twistd has a dash between them.
    command: ClassVar[str] = "paddler"
    #: What the command does, in a sentence or two.
    purpose: ClassVar[str] = ""
    table: ClassVar[Sequence[Option]] = ()
    #: What the help says below the options.
    sections: ClassVar[Sequence[Section]] = ()
    #: Options that the contract has and this version does not: refused by name.
    not_yet: ClassVar[frozenset[str]] = frozenset()
    environment: Mapping[str, str] = os.environ
    #: What Twisted has for whoever completes a command line.
    optParameters: ClassVar[Sequence[Sequence[str | None]]] = ()
    compData: ClassVar[usage.Completions]

    def __init_subclass__(cls) -> None:
        cls.optParameters = parameters(cls.table)
        cls.compData = completions(cls.table)

    def __init__(self) -> None:
        self._by_name = {option.name: option for option in self.table}
        self.given: set[str] = set()
        self.remarks: list[str] = []
        self.metadata_keys: dict[str, MetadataKey] = {}
        self.secrets: dict[str, str | None] = {}
        self._raw: dict[str, list[str]] = {}
        super().__init__()

    def getSynopsis(self) -> str:
        """How the command is written, by itself or as a part of twistd's."""
        command = self.command
        if self.parent is not None:
            command = "twistd [twistd options] " + command.replace(" ", "-")
        return f"Usage: {command} [options]"

    def getUsage(self, width: int | None = None) -> str:
        """The help."""
        return usage_text(self.getSynopsis(), self.purpose, self.table, self.sections, width)

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
