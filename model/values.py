"""The single values of a topology: numbers, names, addresses. What each must be, and what to say if not."""

from __future__ import annotations

import re
import shlex
from ipaddress import AddressValueError, IPv4Address, IPv4Network, NetmaskValueError
from typing import TypeVar, cast, get_args

from model.document import Scalar, shown
from model.kinds import Leaf, Refused, Schema
from model.problems import nearest
from model.topology import NatMode, Persistence, Ports, Protocol, RestartPolicy, Traffic

T = TypeVar("T")

OUR_LABELS = "macvlan-fabric."  # they tell whose a container is, so who removes it

_TRUE, _FALSE = ("true", "yes", "on"), ("false", "no", "off")
_NAME = "[a-zA-Z0-9][a-zA-Z0-9_.-]*"
_DESTINATION = f"([a-zA-Z0-9_][a-zA-Z0-9_.-]*@)?{_NAME}"
_NAME_RULE = "letters, digits, _ . and - only, starting with a letter or digit"


def whole(expects: str, low: int, high: int, example: int, hint: str = "") -> Leaf[int]:
    """A decimal integer from `low` to `high`; `hint` is for numbers outside."""

    def parse(scalar: Scalar) -> int:
        text = scalar.text
        if scalar.quote or not re.fullmatch("0|-?[1-9][0-9]*", text):
            raise Refused(hint=_number_hint(scalar, low, high))
        if len(text) > len(str(high)) or not low <= int(text) <= high:
            raise Refused(hint=hint)
        return int(text)

    schema = {"type": "integer", "minimum": low, "maximum": high}
    return Leaf(f"{expects} from {low} to {high}", parse, schema, str(example))


def _number_hint(scalar: Scalar, low: int, high: int) -> str:
    """How to write the number that was probably meant, if it is one that may stand there."""
    text = scalar.text.replace("_", "")[:12]
    if found := re.fullmatch("0[xX]([0-9a-fA-F]+)", text):
        number, why = int(found[1], 16), ": numbers are decimal"
    elif re.fullmatch("0[0-7]+", text):
        number, why = int(text), f", or {int(text, 8)} if it was meant to be octal"
    elif found := re.fullmatch(r"\+?([0-9]+)(\.0*)?( ?(s|sec|seconds|b|bytes))?", text):
        number, why = int(found[1]), " without quotes" if scalar.quote else ""
    else:
        return ""
    return f"write {number}{why}" if low <= number <= high else ""


def choice(values: tuple[T, ...], hint: str = "") -> Leaf[T]:
    """One of a few words; `hint` is for words that are near none of them."""
    words = {str(value): value for value in values}
    listed = list(words)

    def parse(scalar: Scalar) -> T:
        if scalar.text in words:
            return words[scalar.text]
        near = nearest(scalar.text, words)
        raise Refused(hint=f"did you mean {near}?" if near else hint)

    expects = f"{', '.join(listed[:-1])} or {listed[-1]}"
    return Leaf(expects, parse, {"type": "string", "enum": listed})


def matching(
    expects: str,
    pattern: str,
    example: str,
    longest: int,
    why: str,
    shortest: int = 1,
    taken: tuple[str, ...] = (),
    chosen: bool = True,
) -> Leaf[str]:
    """A word of a given form. `why` explains the limits of its length; `taken` are Docker's own words;
    `chosen`: the author of the file may change it, so a similar one is proposed.
    """

    def parse(scalar: Scalar) -> str:
        text = scalar.text
        if not re.fullmatch(pattern, text):
            raise Refused(hint=_mended(text, pattern) if chosen else "")
        if text in taken:
            raise Refused(f"{text} is a network of Docker's own", "use another name")
        if not shortest <= len(text) <= longest:
            limit = f"at most {longest}" if len(text) > longest else f"at least {shortest}"
            raise Refused(f"must have {limit} characters, got {shown(scalar)} with {len(text)}", why)
        return text

    schema: Schema = {"type": "string", "pattern": f"^{pattern}$", "maxLength": longest}
    if shortest > 1:
        schema["minLength"] = shortest
    if taken:
        schema["not"] = {"enum": list(taken)}
    return Leaf(expects, parse, schema, example)


def _mended(text: str, pattern: str) -> str:
    near = re.sub("[^a-zA-Z0-9_.-]+", "_", text).strip("_.-")[:15]
    return f"for example {near}" if re.fullmatch(pattern, near) else ""


def _flag(scalar: Scalar) -> bool:
    word = scalar.text.lower()
    if word not in _TRUE + _FALSE or scalar.text not in (word, word.title(), word.upper()):
        raise Refused
    if scalar.quote:
        raise Refused(hint=f"write {word} without quotes")
    return word in _TRUE


def _text(scalar: Scalar) -> str:
    if "\0" in scalar.text:
        raise Refused("cannot hold a NUL character: arguments and variables of a process end there")
    return scalar.text


def _reference(scalar: Scalar) -> str:
    if not scalar.text:
        raise Refused
    return scalar.text


def _path(scalar: Scalar) -> str:
    if not scalar.text.isprintable() or not scalar.text.strip():
        raise Refused
    return scalar.text


def _bare(scalar: Scalar) -> str:
    if not re.fullmatch(r"[^\s=]+", scalar.text) or not scalar.text.isprintable():
        raise Refused
    return scalar.text


def _label(scalar: Scalar) -> str:
    text = _bare(scalar)
    if text.startswith(OUR_LABELS):
        raise Refused(f"labels that begin with {OUR_LABELS} are ours", "use another prefix")
    return text


def _destination(scalar: Scalar) -> str:
    text = scalar.text
    if re.fullmatch(_DESTINATION, text):
        return text
    bare = text.removeprefix("ssh://").rstrip("/")
    if bare != text and re.fullmatch(_DESTINATION, bare):
        raise Refused(hint=f"write {bare}")
    host = text.rpartition("@")[2]
    if re.fullmatch(f"{_NAME}:[0-9]+", host):
        raise Refused(hint="a port goes into the ssh configuration (Port), under an alias for the host")
    if ":" in host:
        raise Refused(hint="an IPv6 address goes into the ssh configuration (HostName), under an alias")
    raise Refused(hint="anything more goes into the ssh configuration, under an alias for the host")


def _address(scalar: Scalar) -> IPv4Address:
    text = scalar.text
    try:
        return IPv4Address(text)
    except AddressValueError:
        if "/" in text:
            raise Refused(hint=f"write {text.partition('/')[0]}: the network has the prefix length") from None
        raise Refused(hint=_address_hint(text)) from None


def _address_or_auto(scalar: Scalar) -> IPv4Address | None:
    if scalar.is_null or scalar.text == "auto":
        return None
    return _address(scalar)


def _address_hint(text: str) -> str:
    """Why `ipaddress` refused, in our words."""
    if ":" in text:
        return "IPv6 is not supported"
    parts = text.split(".")
    if len(parts) != 4:
        return f"an IPv4 address has four numbers, not {len(parts)}" if text[:1].isdigit() else ""
    for part in parts:
        if part.isascii() and part.isdigit():
            if int(part[:9]) > 255:
                return f"{part} is more than 255"
            if len(part) > 1 and part[0] == "0":
                return f"write {int(part)} for {part}: a leading zero is octal to some programs"
    return ""


def _prefix(scalar: Scalar) -> IPv4Network:
    text = scalar.text
    address, slash, length = text.partition("/")
    try:
        network = IPv4Network(text, strict=False)
    except (AddressValueError, NetmaskValueError) as error:
        hint = "IPv6 is not supported" if ":" in text else ""
        if isinstance(error, NetmaskValueError):
            hint = "the prefix length is a number from 0 to 32"
        raise Refused(hint=hint or _address_hint(address)) from None
    if not slash:
        raise Refused(f"has no prefix length, got {shown(scalar)}", f"for example {_with_length(address)}")
    if not length.isdigit():
        raise Refused(hint=f"write {network}: a prefix length instead of a netmask")
    if network.prefixlen > 30:
        raise Refused(
            f"is too small for a gateway and a container, got {text}", "the smallest prefix is a /30"
        )
    if str(network.network_address) != address:
        raise Refused(f"has host bits set, got {text}", f"the prefix is {network}")
    if special := next((why for block, why in _SPECIAL.items() if network.overlaps(block)), None):
        raise Refused(
            f"overlaps {special}, got {text}",
            "use private addresses: 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16",
        )
    return network


_SPECIAL = {  # RFC 6890 and RFC 5771: what Linux does not route
    IPv4Network("0.0.0.0/8"): "0.0.0.0/8, which means this host",
    IPv4Network("127.0.0.0/8"): "127.0.0.0/8, which is loopback",
    IPv4Network("224.0.0.0/4"): "224.0.0.0/4, which is multicast",
    IPv4Network("240.0.0.0/4"): "240.0.0.0/4, which is reserved",
}


def _with_length(address: str) -> str:
    """The widest of the usual prefixes that starts at an address."""
    zeros = len(address) and next(n for n in (3, 2, 1, 0) if address.endswith(".0" * n))
    return str(IPv4Network(f"{address}/{32 - 8 * max(zeros, 1)}", strict=False))


def _image(scalar: Scalar) -> str:
    if re.fullmatch(_REFERENCE, scalar.text):
        return scalar.text
    lower = scalar.text.lower()
    if re.fullmatch(_REFERENCE, lower):
        raise Refused(hint=f"image names are lower case: {lower}")
    raise Refused


# The grammar of image references as the distribution project documents it (package reference).
_COMPONENT = "[a-z0-9]+(?:(?:[.]|_{1,2}|-+)[a-z0-9]+)*"
_REFERENCE = (
    rf"(?:[a-zA-Z0-9-]+(?:[.][a-zA-Z0-9-]+)*(?::[0-9]+)?/)?{_COMPONENT}(?:/{_COMPONENT})*"
    r"(?::[\w][\w.-]{0,127})?(?:@[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,})?"
)


def _command(scalar: Scalar) -> tuple[str, ...]:
    try:
        words = tuple(shlex.split(_text(scalar)))
    except ValueError as error:
        what = "has a quote that is not closed" if "quotation" in str(error) else "ends with a backslash"
        raise Refused(f"{what}, got {shown(scalar)}", "the words can also be written as a list") from None
    if not words:
        raise Refused(hint="leave the key out to run the image's own command")
    return words


def _traffic(scalar: Scalar) -> Traffic:
    text = scalar.text
    if text == "all":
        return Traffic()
    protocol, slash, range_ = text.partition("/")
    if protocol not in get_args(Protocol):
        near = nearest(protocol, ("all", *get_args(Protocol)))
        swapped = re.fullmatch("([0-9-]+)/(tcp|udp)", text)
        if swapped:
            raise Refused(hint=f"write {swapped[2]}/{swapped[1]}")
        if re.fullmatch("[0-9-]+", text):
            raise Refused(hint=f"write tcp/{text} or udp/{text}")
        raise Refused(hint=f"did you mean {near}{slash}{range_}?" if near else "")
    if not slash:
        return Traffic(cast("Protocol", protocol))
    if protocol == "icmp":
        raise Refused(f"icmp has no ports, got {shown(scalar)}", "write icmp")
    return Traffic(cast("Protocol", protocol), (_ports(scalar, range_),))


def _ports(scalar: Scalar, text: str) -> Ports:
    found = re.fullmatch("(0|[1-9][0-9]{0,8})(?:-(0|[1-9][0-9]{0,8}))?", text)
    if not found:
        hint = "write a list: [tcp/80, tcp/443]" if "," in text else "for example tcp/80 or tcp/8000-8080"
        raise Refused(hint=hint)
    first, last = int(found[1]), int(found[2] or found[1])
    for port in (first, last):
        if not 1 <= port <= 65535:
            raise Refused(f"ports go from 1 to 65535, got {shown(scalar)}")
    if first > last:
        raise Refused(f"the range runs backwards, got {shown(scalar)}", f"write {last}-{first}")
    return Ports(first, last)


# YAML 1.2, which editors read, knows only the first two words of YAML 1.1's booleans.
_FLAG_SCHEMA: Schema = {
    "anyOf": [
        {"type": "boolean"},
        {"type": "string", "pattern": "^([Yy]es|YES|[Oo]n|ON|[Nn]o|NO|[Oo]ff|OFF)$"},
    ]
}
_TEXT_SCHEMA: Schema = {"type": ["string", "number", "boolean"]}
ENCRYPTED_SCHEMA: Schema = {
    "type": "object",
    "properties": {"secure": {"type": "string"}},
    "required": ["secure"],
    "additionalProperties": False,
}
_BARE_SCHEMA: Schema = {"type": "string", "pattern": r"^[^\s=]+$"}
_OCTET = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_ADDRESS_SCHEMA: Schema = {"type": "string", "format": "ipv4"}

FLAG = Leaf("true or false", _flag, _FLAG_SCHEMA)
TEXT = Leaf("text", _text, _TEXT_SCHEMA, if_null='write "" for empty text')
PATH = Leaf("the path of a file", _path, {"type": "string", "minLength": 1}, "~/.ssh/config")

VLAN = whole("a VLAN id", 1, 4094, 10, "0 and 4095 are reserved (IEEE 802.1Q)")
MTU = whole("an MTU in bytes", 68, 65535, 1500, "IPv4 needs 68 bytes at least (RFC 791)")
REPLICAS = whole("a number of containers", 1, 1000, 3, "to run none, remove the container")
STOP_GRACE = whole("a number of seconds", 0, 3600, 10)

_READABLE = "names stand in every message; 63 characters are enough"
_DNS = "Docker's DNS does not resolve names of more than 63 characters"  # moby/moby#46928
HOST_NAME = matching(f"a host name: {_NAME_RULE}", _NAME, "host1", 63, _READABLE)
TRUNK_NAME = matching(f"a trunk name: {_NAME_RULE}", _NAME, "trunk", 63, _READABLE)
NETWORK_NAME = matching(
    f"a network name: {_NAME_RULE}", _NAME, "mac_net10", 63, _DNS, taken=("bridge", "default", "host", "none")
)
CONTAINER_NAME = matching(
    f"a container name: {_NAME_RULE}",
    _NAME,
    "web",
    63,
    "Docker takes names of 2 to 63 characters",
    shortest=2,
)
INTERFACE = matching(
    f"an interface name: {_NAME_RULE}",
    _NAME,
    "eth2",
    15,
    "Linux takes at most 15 bytes (IFNAMSIZ)",
    chosen=False,
)

_NAME_SCHEMA: Schema = {"type": "string", "minLength": 1}
HOST = Leaf("the name of a host", _reference, _NAME_SCHEMA, "host1", if_many="several go under hosts")
NETWORK = Leaf(
    "the name of a network", _reference, _NAME_SCHEMA, "mac_net10", if_many="several go under networks"
)
TRUNK = Leaf("the name of a trunk", _reference, _NAME_SCHEMA, "trunk")
PEER = Leaf("the name of a network or container", _reference, _NAME_SCHEMA, "mac_net10")

DESTINATION = Leaf(
    "an ssh destination: [user@]host",
    _destination,
    {"type": "string", "pattern": f"^{_DESTINATION}$"},
    "admin@192.0.2.7",
)
PREFIX = Leaf(
    "an IPv4 prefix",
    _prefix,
    {"type": "string", "pattern": rf"^{_OCTET}(\.{_OCTET}){{3}}/([0-9]|[12][0-9]|30)$"},
    "172.16.10.0/24",
)
ADDRESS = Leaf("an IPv4 address", _address, _ADDRESS_SCHEMA, "172.16.10.1")
ADDRESS_OR_AUTO = Leaf(
    "an IPv4 address or auto",
    _address_or_auto,
    {"anyOf": [{"enum": ["auto", None]}, _ADDRESS_SCHEMA]},
    "172.16.10.10",
    null=True,
)

IMAGE = Leaf(
    "an image: [registry/]name[:tag][@digest]",
    _image,
    {"type": "string", "pattern": f"^{_REFERENCE}$"},
    "busybox:latest",
)
COMMAND_LINE = Leaf("a command line", _command, {"type": "string", "minLength": 1}, "sleep infinity")
ENVIRONMENT_NAME = Leaf("a variable's name, without spaces and =", _bare, _BARE_SCHEMA, "LOG_LEVEL")
LABEL_NAME = Leaf(
    "a label's name, without spaces and =",
    _label,
    {**_BARE_SCHEMA, "not": {"pattern": r"^macvlan-fabric\."}},
    "org.example.role",
)
PERSISTENCE: Leaf[Persistence] = choice(
    get_args(Persistence), "auto takes the manager of the trunk interface; unit does without any"
)
NAT: Leaf[NatMode] = choice(get_args(NatMode), "routed is without NAT: targets see the source's own address")
RESTART: Leaf[RestartPolicy] = choice(get_args(RestartPolicy))
TRAFFIC = Leaf(
    "all, icmp, tcp, udp, or ports such as tcp/80 and udp/8000-8080",
    _traffic,
    {"type": "string", "pattern": "^(all|icmp|(tcp|udp)(/[1-9][0-9]{0,4}(-[1-9][0-9]{0,4})?)?)$"},
    "tcp/80",
)
