"""Hosts whose trunk interface belongs to NetworkManager, or to netplan, which do with it what they like.

A lab of its own, because a host keeps its release as long as it has its disk.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from lab import DEFAULT_HOSTS, Lab
from tests.e2e.hostdump import assert_same, dump_all
from tests.e2e.test_tutorial import Tutorial, tutorial_topology
from tests.project import ROOT, Project

pytestmark = [pytest.mark.e2e, pytest.mark.thorough]


@dataclass(frozen=True)
class Manager:
    """How a manager is told, by hand, to have the trunk, and what it can do to it."""

    install: str  # instead of the lab's own file for the trunk
    ready: str  # succeeds once the trunk is its own
    disturb: tuple[str, ...]  # what people do while everything runs
    claim: str  # makes eth2.30, from boot on
    file: str  # where that is written then
    release: str  # takes it back


ONLY_NETWORK_MANAGER = """
rm /etc/systemd/network/20-trunk.network
cat >/etc/NetworkManager/conf.d/lab.conf <<END
[main]
dns=none
[keyfile]
unmanaged-devices=interface-name:eth1
END
systemctl --quiet enable NetworkManager
"""
NETWORK_MANAGER = Manager(
    install=f"""
{ONLY_NETWORK_MANAGER}
umask 077
cat >/etc/NetworkManager/system-connections/trunk.nmconnection <<END
[connection]
id=trunk
uuid=5c1d4c4a-6a0c-4a39-9f0e-6d2f3c1b8a10
type=ethernet
interface-name=eth2

[ipv4]
method=disabled

[ipv6]
method=disabled
END
""",
    ready="nmcli -g GENERAL.STATE device show eth2 | grep -w connected",
    disturb=(
        "systemctl restart NetworkManager && nm-online -q -s",
        "nmcli general reload && nmcli connection reload",
        "nmcli device reapply eth2",
        "nmcli connection up trunk",
        "nmcli connection down trunk && nmcli connection up trunk",
    ),
    claim="nmcli connection add con-name thirty type vlan dev eth2 id 30 ip4 198.51.100.1/24",
    file="/etc/NetworkManager/system-connections/thirty.nmconnection",
    release="nmcli connection delete thirty",
)
# As it comes: nobody has said anything of the trunk, so it goes on asking there for an address by DHCP.
LEFT_TO_ITSELF = replace(
    NETWORK_MANAGER,
    install=ONLY_NETWORK_MANAGER,
    ready="nmcli -g GENERAL.STATE device show eth2 | grep -w connecting",
    disturb=("systemctl restart NetworkManager", "nmcli device disconnect eth2"),
)
NETPLAN = Manager(
    install="""
rm /etc/systemd/network/20-trunk.network
umask 077
cat >/etc/netplan/10-trunk.yaml <<END
network:
  version: 2
  ethernets:
    eth2:
      link-local: []
      optional: true
END
""",
    ready="networkctl status eth2 | grep /run/systemd/network/10-netplan-eth2.network",
    disturb=(
        "netplan apply",
        "networkctl reload",
        "networkctl reconfigure eth2",
        "systemctl restart systemd-networkd",
    ),
    claim="""
umask 077
printf 'network:\\n  vlans:\\n    eth2.30: {id: 30, link: eth2}\\n' >/etc/netplan/30.yaml
""",
    file="/etc/netplan/30.yaml",
    release="rm /etc/netplan/30.yaml",
)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    lab = Lab(ROOT / ".lab" / "managed", release=dict.fromkeys(DEFAULT_HOSTS, "managers"))
    yield lab
    lab.destroy()


MANAGERS = {
    "NetworkManager": NETWORK_MANAGER,
    "NetworkManager left to itself": LEFT_TO_ITSELF,
    "netplan": NETPLAN,
}


@pytest.fixture(scope="module", params=MANAGERS.values(), ids=list(MANAGERS))
def manager(request: pytest.FixtureRequest) -> Manager:
    given: Manager = request.param
    return given


@pytest.fixture(scope="module")
def tutorial(
    lab: Lab, manager: Manager, engine_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Tutorial]:
    """The tutorial, up, on such hosts."""
    lab.reset()
    for host in lab.hosts:
        lab.ssh(host, "sh", "-ec", manager.install, check=True)
    lab.reboot(*lab.hosts)
    for host in lab.hosts:
        lab.ssh(
            host,
            "sh",
            "-c",
            f"for i in $(seq 50); do {manager.ready} && exit; sleep .2; done; exit 1",
            check=True,
        )
    before = dump_all(lab)
    topology = tutorial_topology(lab)
    project = Project(tmp_path_factory.mktemp("managed"), engine_environment)
    project.write(topology)
    project.up().check()
    yield Tutorial(lab, project, topology, before, [])
    project.destroy()


def test_everything_pings(tutorial: Tutorial) -> None:
    tutorial.assert_converged()


def test_whatever_people_have_the_manager_do_leaves_the_fabric_alone(
    tutorial: Tutorial, manager: Manager
) -> None:
    for command in manager.disturb:
        for host in tutorial.lab.hosts:
            tutorial.on(host, command)
        tutorial.assert_all_ping()
        tutorial.project.assert_clean()


def test_everything_pings_after_a_reboot(tutorial: Tutorial) -> None:
    tutorial.lab.reboot(*tutorial.lab.hosts)
    tutorial.assert_converged()


def test_a_link_that_the_manager_makes_is_its_own(tutorial: Tutorial, manager: Manager) -> None:
    wanted = copy.deepcopy(tutorial.topology)
    wanted["networks"]["mac_net30"] = {"vlan": 30, "subnet": "172.16.30.0/24", "gateway": "172.16.30.1"}
    tutorial.project.write(wanted)
    tutorial.on("router", manager.claim)
    try:
        refused = tutorial.project.preview()
        assert refused.status != 0
        assert re.search(rf"router: .*eth2\.30.* configured in {re.escape(manager.file)}:\d", refused.output)
    finally:
        tutorial.on("router", manager.release)
        tutorial.project.write(tutorial.topology)
    tutorial.assert_converged()


def test_destroy_leaves_the_hosts_as_before(tutorial: Tutorial) -> None:
    """The last one: it ends what the others share."""
    tutorial.project.destroy().check()
    assert_same(dump_all(tutorial.lab), tutorial.before)
