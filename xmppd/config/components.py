"""The options under `components:`: programs beside the server that answer for a domain of their own (XEP-0114)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from ..errors import MalformedJid
from ..jid import prepare_domain
from .limits import ShapingLimits
from .option import option
from .problem import Where
from .units import Size

SHORTEST_SECRET: Final = 16
"""Characters: nobody is made to wait after a wrong one, so it must be one that cannot be guessed."""
Access = Literal["none", "get", "set", "both"]


def domain_name(text: str) -> str:
    """A domain in its one form, however it is spelled in the file. Raises ValueError."""
    try:
        return prepare_domain(text)
    except MalformedJid:
        raise ValueError("expected a domain such as 'example.org'") from None


@dataclass(frozen=True)
class PrivilegesConfig:
    """What the component may do in the name of all accounts of that host (XEP-0356)."""

    roster: Access = option("none", "Read (`get`) and change (`set`) their contact lists.")
    push: bool | None = option(
        None, "It hears of each change of a contact list; null: if it may read them. Only with `get` or `both`."
    )
    message: Literal["none", "outgoing"] = option("none", "`outgoing`: send messages in their name.")
    iq: dict[str, Access] = option(
        default_factory=dict, doc="Send requests in their name: by namespace of what is inside, of which type."
    )
    presence: Literal["none", "managed_entity", "roster"] = option(
        "none",
        "`managed_entity`: it hears who of them comes and goes; `roster`: of their contacts elsewhere as well, which "
        "needs `roster: get` or `both`.",
    )

    @property
    def reads_roster(self) -> bool:
        return self.roster in ("get", "both")

    @property
    def writes_roster(self) -> bool:
        return self.roster in ("set", "both")

    @property
    def pushes(self) -> bool:
        return self.reads_roster if self.push is None else self.push

    def check(self) -> Iterable[tuple[Where, str]]:
        if self.push and not self.reads_roster:
            yield "push", "needs `roster: get` or `roster: both` (XEP-0356 section 4.1)"
        if self.presence == "roster" and not self.reads_roster:
            yield "presence", "'roster' needs `roster: get` or `roster: both` (XEP-0356 section 7.4)"


@dataclass(frozen=True)
class ComponentConfig:
    """One component. The name above it is its domain."""

    secret: str = option("", "What it proves that it knows; at least 16 characters.", secret=True)
    secret_file: Path | None = option(None, "File with that secret, read when a component connects.")
    connections: int = option(
        1,
        "So many connections it may have at once. What one person sends goes to one of them, so it stays in order.",
        low=1,
        high=16,
    )
    queue: Size = option(
        Size("4 MiB"),
        "What may wait for a connection that does not read; what comes then is refused (`resource-constraint`).",
        low=256 << 10,
        high=1 << 30,
    )
    rate: ShapingLimits = option(
        ShapingLimits(Size("8 MiB"), Size("32 MiB"), 5000, 20_000), "What one connection may send per second."
    )
    listed: bool = option(True, "The host above it names it in service discovery.")
    privileges: dict[str, PrivilegesConfig] = option(
        default_factory=dict,
        doc="What it may do in the name of others, by the host whose accounts they are.",
        key=domain_name,
    )
    delegates: dict[str, dict[str, tuple[str, ...]]] = option(
        default_factory=dict,
        doc="Requests that it answers in place of a host and its accounts (XEP-0355): by host, then by the namespace "
        "of what is inside, with the attributes that must be there for it (`[]`: any will do).",
        key=domain_name,
    )

    def read_secret(self) -> str:
        """The secret as it is now. Raises OSError, UnicodeError."""
        if self.secret_file is not None:
            return self.secret_file.read_text().strip("\r\n")
        return self.secret

    def check(self) -> Iterable[tuple[Where, str]]:
        if self.secret and self.secret_file is not None:
            yield "secret_file", "one of 'secret' and 'secret_file' is enough"
            return
        place = "secret" if self.secret_file is None else "secret_file"
        try:
            secret = self.read_secret()
        except (OSError, UnicodeError) as error:
            yield place, f"cannot be read: {error}"
            return
        if not secret:
            yield place, f"needs a secret of at least {SHORTEST_SECRET} characters"
        elif len(secret) < SHORTEST_SECRET or len(set(secret)) < SHORTEST_SECRET // 2:
            yield (
                place,
                f"is easily guessed: at least {SHORTEST_SECRET} characters, not the same again and again",
            )


def component_problems(
    components: Mapping[str, ComponentConfig], hosts: Iterable[str], listens: bool
) -> Iterable[tuple[Where, str]]:
    """What is wrong with the components beside the rest of the file. `listens`: there is a listener for them."""
    known = frozenset(hosts)
    if components and not listens:
        yield "components", "no component can connect: there is no listener of kind 'component'"
    for name, component in components.items():
        place = ("components", name)
        if name in known:
            yield place, "is a host of this server"
        for section, named in (("privileges", component.privileges), ("delegates", component.delegates)):
            for host in named:
                if host not in known:
                    yield (*place, section, host), f"{host} is no host of this server"
        for host, namespaces in component.delegates.items():
            for other, theirs in components.items():
                if other == name:
                    break
                for ns in theirs.delegates.get(host, {}):
                    if ns in namespaces:
                        yield (*place, "delegates", host, ns), f"is delegated to {other} already"
