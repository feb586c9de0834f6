"""What all our dynamic providers share: which host, what is compared, what is told to the user.

A provider class is pickled by reference, so its module path is part of every stored state and its
instances carry nothing. `check` and `diff` ask nobody, because the engine runs them one after the
other; everything else talks to one host over the process's one connection to it.

Inputs are the wish, as plain data, plus `drift`, which is wished to be empty. `read` fills it with what
the host shows that differs, a sentence each: so `pulumi refresh` prints the differences in words, and
the next `pulumi up` sees that there is something to mend. And they have a `version`, by which others see
that something was made or mended.

They have a `mark`, too, made when the resource is new. It is left beside the object (`hosts.charge`), and
the object is removed only by the resource whose mark is there: one that was replaced by itself leaves it
alone.

`found` is the same for those who do not refresh: what the program saw to differ when it looked at the host
before it began. So `pulumi preview` shows it, and `pulumi up` mends it.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import pulumi
from pulumi.dynamic import (
    CheckResult,
    CreateResult,
    DiffResult,
    ReadResult,
    Resource,
    ResourceProvider,
    UpdateResult,
)

from hosts.change import Change
from hosts.charge import give_up_charge, in_charge, take_charge
from hosts.errors import HostError
from hosts.host import Host
from resources.session import on_host

T = TypeVar("T")
Properties = dict[str, Any]

# How to reach the host, and what may be risked of that.
CONNECTION = ("address", "ssh_config", "may_touch_session")
COMMON = ("host", *CONNECTION, "owner")
DRIFT = "drift"
FOUND = "found"
VERSION = "version"
MARK = "mark"
PROBLEMS = "problems"
SEED = "seed"


class _QuietAboutHosts(logging.Filter):
    """Keeps gRPC from printing a traceback for a `HostError`: the engine shows its sentence already."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], HostError))


logging.getLogger("grpc._server").addFilter(_QuietAboutHosts())


class HostProvider(ResourceProvider):
    """One kind of object on a host: how to make, compare and remove it.

    `wish` names the inputs of the kind beside `COMMON`; one that is absent equals None. A change in one
    of `identity` means another object: the new one is made before the old one is removed. The host's key in
    the topology is none of them: a machine may get another one.
    """

    serialize_as_secret_always = False  # nothing in it is secret, and secret values are slow and noisy
    wish: ClassVar[tuple[str, ...]] = ()
    identity: ClassVar[tuple[str, ...]] = ("owner",)
    occasion: ClassVar[tuple[str, ...]] = ()  # inputs that, when they change, have it looked after again
    reported: ClassVar[tuple[str, ...]] = ()  # outputs that only the host can say; as inputs None
    object: ClassVar[str | None] = None  # its mark's name on the host; None: it has nothing of its own there

    @abstractmethod
    async def ensure(self, host: Host, props: Properties) -> Change:
        """Make the object as wished, whatever is there."""

    @abstractmethod
    async def differences(self, host: Host, props: Properties) -> Sequence[str] | None:
        """In what the host is not as wished, a clause each; None if the object is gone."""

    @abstractmethod
    async def take_away(self, host: Host, props: Properties) -> Change:
        """Remove the object. One that is gone already is fine."""

    async def observed(self, _host: Host, _props: Properties) -> Properties:
        """The values of what is `reported`."""
        return {}

    def object_of(self, props: Properties) -> str | None:
        """Under which name its mark lies, where there are several of the kind on a host."""
        del props
        return self.object

    def id_of(self, props: Properties) -> str:
        """The object's id in the state."""
        return str(props["host"])

    def check(self, olds: Properties, news: Properties) -> CheckResult:
        """Give the object another version whenever it is to be made or changed.

        What was found to differ counts where the wish is the same as before: else it is to be changed anyhow.
        """
        before, wished = plain(olds), plain(news)
        seed = wished.pop(SEED, "")
        if not before or changed_keys(before, wished, (*self.identity, *self.wish, DRIFT)):
            wished[FOUND] = []
        same = before and before.get(VERSION) and not wished.get(FOUND)
        same = same and not changed_keys(before, wished, (*COMMON, *self.wish, *self.occasion, DRIFT))
        wished[VERSION] = before[VERSION] if same else self.word(VERSION, wished, seed)
        wished[MARK] = before.get(MARK) or self.word(MARK, wished, seed)
        return CheckResult(wished, [])

    def word(self, what: str, wished: Properties, seed: str) -> str:
        """A word that nothing else has, and no former value of this: the seed is another one in every state.

        In a preview and in the update that follows it is the same, as `pulumi up --plan` demands.
        """
        if not seed:
            return secrets.token_hex(4)
        its = [seed, what, type(self).__name__, self.id_of(wished), str(self.object_of(wished))]
        return hashlib.sha256("\0".join(its).encode()).hexdigest()[:8]

    def diff(self, _id: str, olds: Properties, news: Properties) -> DiffResult:
        changed = changed_keys(plain(olds), plain(news), (*COMMON, *self.wish, *self.occasion, DRIFT))
        found = news.get(FOUND) and news[VERSION] != olds.get(VERSION)  # else it is mended already
        changes = bool(changed or found or news.get(PROBLEMS))
        return DiffResult(changes, [key for key in changed if key in self.identity])

    def create(self, props: Properties) -> CreateResult:
        wished = plain(props)
        refuse_if_blocked(wished)
        return CreateResult(self.id_of(wished), _on_host(wished, lambda host: self._made(host, wished)))

    def update(self, _id: str, olds: Properties, news: Properties) -> UpdateResult:
        before, wished = plain(olds), plain(news)
        refuse_if_blocked(wished)
        # Another address may be another machine, and what may be touched now may have been left undone.
        acted_upon = (*CONNECTION, *self.wish, *self.occasion, DRIFT, MARK)
        if not changed_keys(before, wished, acted_upon) and not wished.get(FOUND):
            return UpdateResult(wished | {key: before[key] for key in self.reported if key in before})
        return UpdateResult(_on_host(wished, lambda host: self._made(host, wished)))

    def read(self, id_: str, props: Properties) -> ReadResult:
        recorded = plain(props)
        found, observed = _on_host(recorded, lambda host: self._seen(host, recorded))
        if found is None:
            return ReadResult("", {})
        seen = recorded | {DRIFT: list(found)}
        inputs = {key: value for key, value in seen.items() if not key.startswith("__")}
        return ReadResult(id_, seen | observed, inputs | dict.fromkeys(self.reported))

    def delete(self, _id: str, props: Properties) -> None:
        recorded = plain(props)
        _on_host(recorded, lambda host: self._removed(host, recorded))

    async def _removed(self, host: Host, recorded: Properties) -> None:
        name = self.object_of(recorded)
        if name is not None:
            mark = await in_charge(host, recorded["owner"], name)
            if mark not in (None, recorded.get(MARK)):
                print(f"{host.name}: {name} was not removed: another resource is in charge of it", flush=True)
                return
            if mark is not None:
                await give_up_charge(host, recorded["owner"], name)
        _tell_what_is_left(host, await self.take_away(host, recorded))

    async def _made(self, host: Host, wished: Properties) -> Properties:
        _tell_what_is_left(host, await self.ensure(host, wished))
        name, mark = self.object_of(wished), wished.get(MARK)
        if name is not None and mark:
            await take_charge(host, wished["owner"], name, mark)
        return wished | await self.observed(host, wished)

    async def _seen(self, host: Host, recorded: Properties) -> tuple[Sequence[str] | None, Properties]:
        found, name = await self.differences(host, recorded), self.object_of(recorded)
        if found is not None and name is not None and recorded.get(MARK):
            mark = await in_charge(host, recorded["owner"], name)
            if mark not in (None, recorded[MARK]):  # a run was killed before it could record the new one
                found = [*found, f"{name} is marked by a run that was cut off"]
        return found, await self.observed(host, recorded)


class HostResource(Resource):
    """An object of a `HostProvider`."""

    version: pulumi.Output[str]  # another one whenever it was made or changed


def _tell_what_is_left(host: Host, change: Change) -> None:
    for clause in change.left:
        print(f"{host.name}: {clause}", flush=True)  # the engine shows it beside the resource


def refuse_if_blocked(props: Properties) -> None:
    """Raise HostError with all that stands in the way of a resource; who waits for it stays as he is, too."""
    if problems := props.get(PROBLEMS):
        raise HostError(props["host"], "\n".join(["it is left as it is", *problems]))


def _on_host(props: Properties, operation: Callable[[Host], Awaitable[T]]) -> T:
    return on_host(props["host"], props["address"], props.get("ssh_config"), operation)


def changed_keys(olds: Properties, news: Properties, keys: tuple[str, ...]) -> list[str]:
    """Those of the keys whose values differ; one that is absent or empty equals None."""
    return [key for key in keys if (olds.get(key) or None) != (news.get(key) or None)]


def plain(value: Any) -> Any:
    """Undo what the engine's protocol does to values: every number arrives as a float."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
