"""Kernel parameters: who set them, what they were, who still needs them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

from hosts.boot import ensure_boot_unit, read_object
from hosts.errors import ConflictError, Unsupported, VerificationError
from hosts.fake import FakeHost, Fault
from hosts.sysctls import ensure_sysctls, path_of, read_boot_sysctls, read_sysctls, remove_sysctls
from resources.boot_unit import BootUnitProvider
from resources.session import FAKE_HOSTS

T = TypeVar("T")

OURS, THEIRS = "tutorial/dev", "tutorial/prod"
FORWARD = {"net.ipv4.ip_forward": "1"}
PATH = "net/ipv4/ip_forward"


def run(operation: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(operation)


@pytest.fixture
def host() -> FakeHost:
    return FakeHost("router")


def value(host: FakeHost, path: str = PATH) -> str:
    with host.machine() as machine:
        return machine.kernel.sysctls[path]


def by_hand(host: FakeHost, new: str, path: str = PATH) -> None:
    with host.machine() as machine:
        machine.kernel.write_sysctl(path, new)


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
        ("net/ipv4/ip_forward", "net/ipv4/ip_forward"),
        ("net.ipv4.conf.all.rp_filter", "net/ipv4/conf/all/rp_filter"),
        ("net.ipv4.conf.eth2.10.rp_filter", "net/ipv4/conf/eth2.10/rp_filter"),
        ("net.ipv4.conf.eth2/10.rp_filter", "net/ipv4/conf/eth2.10/rp_filter"),
        ("net/ipv4/conf/eth2.10/rp_filter", "net/ipv4/conf/eth2.10/rp_filter"),
        ("net.ipv4.neigh.eth2.10.gc_stale_time", "net/ipv4/neigh/eth2.10/gc_stale_time"),
        ("vm.swappiness", "vm/swappiness"),
    ],
)
def test_a_key_is_a_path_also_with_dots_in_an_interface_name(key: str, path: str) -> None:
    assert path_of(key) == path


def test_a_parameter_is_set_kept_for_the_next_boot_and_restored(host: FakeHost) -> None:
    before = host.dump()
    assert str(run(ensure_sysctls(host, FORWARD, OURS))) == (
        "set net/ipv4/ip_forward to 1, was 0; wrote its boot file in /etc/macvlan-fabric/tutorial+dev"
    )
    assert run(read_sysctls(host, FORWARD)) == FORWARD
    assert run(read_boot_sysctls(host, OURS)) == {PATH: "1"}
    assert not run(ensure_sysctls(host, FORWARD, OURS))
    assert "restored net/ipv4/ip_forward to 0" in run(remove_sysctls(host, OURS)).done
    assert host.dump() == before
    assert not run(remove_sysctls(host, OURS))


def test_what_is_right_already_is_never_written(host: FakeHost) -> None:
    by_hand(host, "1")
    by_hand(host, "0", "net/ipv4/conf/eth1/forwarding")
    host.log.clear()
    run(ensure_sysctls(host, FORWARD, OURS))
    assert [step for step in host.log if step.startswith("write /proc")] == []
    run(remove_sysctls(host, OURS))
    assert value(host) == "1"
    assert value(host, "net/ipv4/conf/eth1/forwarding") == "0"


def test_what_the_kernel_resets_with_ip_forward_is_put_back_with_it(host: FakeHost) -> None:
    by_hand(host, "1", "net/ipv4/conf/eth1/forwarding")
    by_hand(host, "0", "net/ipv4/conf/all/accept_redirects")
    before = host.dump()
    run(ensure_sysctls(host, FORWARD, OURS))
    assert value(host, "net/ipv4/conf/eth2/forwarding") == "1"
    run(remove_sysctls(host, OURS))
    assert host.dump() == before


def test_the_last_stack_restores(host: FakeHost) -> None:
    before = host.dump()
    run(ensure_sysctls(host, FORWARD, OURS))
    run(ensure_sysctls(host, FORWARD, THEIRS))
    run(remove_sysctls(host, OURS))
    assert value(host) == "1"
    run(remove_sysctls(host, THEIRS))
    assert host.dump() == before


def test_two_stacks_cannot_want_different_values(host: FakeHost) -> None:
    run(ensure_sysctls(host, FORWARD, THEIRS))
    before = host.dump()
    with pytest.raises(ConflictError) as caught:
        run(ensure_sysctls(host, {"net.ipv4.ip_forward": "0"}, OURS))
    assert str(caught.value) == (
        "router: net/ipv4/ip_forward must be 0, but the stack tutorial/prod needs it to be 1\n"
        "  hint: the two stacks cannot share this host"
    )
    assert host.dump() == before


def test_a_value_that_somebody_else_set_meanwhile_stays(host: FakeHost) -> None:
    rp_filter = {"net.ipv4.conf.all.rp_filter": "1"}
    run(ensure_sysctls(host, rp_filter, OURS))
    by_hand(host, "2", "net/ipv4/conf/all/rp_filter")
    run(remove_sysctls(host, OURS))
    assert value(host, "net/ipv4/conf/all/rp_filter") == "2"


def test_forwarding_stays_on_where_docker_came_to_need_it(host: FakeHost) -> None:
    run(ensure_sysctls(host, FORWARD, OURS))
    with host.machine() as machine:
        machine.start_docker()
    assert run(remove_sysctls(host, OURS)).left == (
        "left net.ipv4.ip_forward on: docker0 of Docker needs it",
    )
    assert value(host) == "1"


def test_forwarding_stays_on_for_a_docker_without_a_bridge(host: FakeHost) -> None:
    run(ensure_sysctls(host, FORWARD, OURS))
    with host.machine() as machine:
        machine.write("/run/docker.pid", b"123")
    assert run(remove_sysctls(host, OURS)).left == ("left net.ipv4.ip_forward on: Docker needs it",)


@pytest.mark.parametrize(
    ("links", "clause"),
    [
        ({"virbr0": "bridge"}, "virbr0 of libvirt needs it"),
        ({"podman1": "bridge"}, "podman1 of Podman needs it"),
        ({"cni-podman0": "bridge"}, "cni-podman0 of Podman needs it"),
        ({"cni0": "bridge", "flannel.1": "vxlan"}, "cni0 of Kubernetes needs it"),
        ({"lxdbr0": "bridge", "incusbr0": "bridge"}, "incusbr0 of Incus and lxdbr0 of LXD need it"),
        ({"tailscale0": "tun"}, "tailscale0 of Tailscale needs it"),
        ({"office": "wireguard"}, "office of WireGuard needs it"),
    ],
)
def test_forwarding_stays_on_where_others_need_it(host: FakeHost, links: dict[str, str], clause: str) -> None:
    with host.machine() as machine:
        machine.kernel.kinds |= set(links.values())
    run(ensure_sysctls(host, FORWARD | {"net.ipv4.conf.all.rp_filter": "2"}, OURS))
    with host.machine() as machine:
        for name, kind in links.items():
            machine.kernel.add(name, kind, None)
    done = run(remove_sysctls(host, OURS))
    assert done.left == (f"left net.ipv4.ip_forward on: {clause}",)
    assert value(host) == "1"
    assert value(host, "net/ipv4/conf/all/rp_filter") == "0"
    assert not run(remove_sysctls(host, OURS))


def test_bridges_of_virtual_machines_alone_do_not_keep_forwarding(host: FakeHost) -> None:
    with host.machine() as machine:
        machine.kernel.kinds |= {"bridge", "dummy"}
        machine.kernel.add("vmbr0", "bridge", None)
        machine.kernel.add("wg0", "dummy", None)
    before = host.dump()
    run(ensure_sysctls(host, FORWARD, OURS))
    assert run(remove_sysctls(host, OURS)).left == ()
    assert host.dump() == before


def test_what_is_left_as_it_is_is_told_by_a_destroy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(FAKE_HOSTS, str(tmp_path))
    host = FakeHost("router", path=tmp_path / "a.json")
    run(ensure_boot_unit(host, OURS))
    run(ensure_sysctls(host, FORWARD, OURS))
    with host.machine() as machine:
        machine.kernel.kinds |= {"bridge"}
        machine.kernel.add("virbr0", "bridge", None)
    BootUnitProvider().delete("router", {"host": "router", "address": "a", "owner": OURS})
    assert capsys.readouterr().out == "router: left net.ipv4.ip_forward on: virbr0 of libvirt needs it\n"


def test_what_is_not_wanted_any_more_is_restored(host: FakeHost) -> None:
    run(ensure_sysctls(host, FORWARD | {"net.ipv4.conf.all.rp_filter": "2"}, OURS))
    run(ensure_sysctls(host, FORWARD, OURS))
    assert value(host, "net/ipv4/conf/all/rp_filter") == "0"
    assert value(host) == "1"


def test_the_first_value_counts_not_the_one_in_between(host: FakeHost) -> None:
    by_hand(host, "1", "net/ipv4/conf/all/rp_filter")
    for wanted in ("2", "0", "2"):
        run(ensure_sysctls(host, {"net.ipv4.conf.all.rp_filter": wanted}, OURS))
    run(remove_sysctls(host, OURS))
    assert value(host, "net/ipv4/conf/all/rp_filter") == "1"


def test_a_parameter_that_the_kernel_does_not_have(host: FakeHost) -> None:
    before = host.dump()
    with pytest.raises(Unsupported) as caught:
        run(ensure_sysctls(host, FORWARD | {"net.ipv4.conf.eth2.10.nonsense": "1"}, OURS))
    assert "the kernel has no parameter net/ipv4/conf/eth2.10/nonsense" in str(caught.value)
    assert host.dump() == before


def test_a_value_that_does_not_stay_is_told(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    async def ignore(*_: object, **__: object) -> None:
        pass

    monkeypatch.setattr(host, "write", ignore)
    with pytest.raises(VerificationError) as caught:
        run(ensure_sysctls(host, FORWARD, OURS))
    assert "net/ipv4/ip_forward was set to 1, but is 0" in str(caught.value)


def test_a_change_that_was_cut_off_is_taken_back_by_whoever_comes_next(host: FakeHost) -> None:
    before = host.dump()
    run(ensure_sysctls(host, FORWARD, OURS))
    setting = host.log.index(f"write /proc/sys/{PATH}") + 1
    cut = FakeHost("router", fault=Fault(setting, effect=True))
    with pytest.raises(Exception, match="the session was lost"):
        run(ensure_sysctls(cut, FORWARD, OURS))
    cut.reconnect()
    assert value(cut) == "1"
    assert run(read_object(cut, OURS, "sysctls")) is None
    run(remove_sysctls(cut, THEIRS))
    assert cut.dump() == before
