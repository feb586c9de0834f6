"""Every fault there is, in the order in which they are tried."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.faults.attempt import Attempt, Fault, Missed
from tests.faults.running import kill
from tests.faults.stage import Stage, told

WORDS_DEADLINE = 40.0  # seconds until a host that has fallen silent is named


def engine_killed(stage: Stage, attempt: Attempt) -> None:
    running = stage.begin(attempt.action)
    attempt.await_moment(stage, running)
    running.process.kill()
    running.finish()


def provider_killed(stage: Stage, attempt: Attempt) -> None:
    running = stage.begin(attempt.action)
    attempt.await_moment(stage, running)
    pids = list(running.pids("pulumi.dynamic"))
    if not pids:
        raise Missed
    for pid in pids:
        kill(pid)
    told(running.finish(), *stage.lab.hosts)


def ssh_dropped(stage: Stage, attempt: Attempt) -> None:
    """Once in every tenth of the work, one after the other."""
    running = stage.begin(attempt.action)
    tenths = attempt.fault.times
    attempt.await_moment(stage, running, attempt.number / tenths, (attempt.number + 1) / tenths)
    if not stage.drop_connections():
        raise Missed
    told(running.finish(), *stage.lab.hosts)


def ssh_black_holed(stage: Stage, attempt: Attempt) -> None:
    host = stage.lab.hosts[attempt.number % len(stage.lab.hosts)]
    running = stage.begin(attempt.action)
    attempt.await_moment(stage, running, 0.0, 0.5)
    cut = time.monotonic()
    stage.lab.cable(host, "out", management=True)
    try:
        run = running.finish()
    finally:
        stage.lab.cable(host, "in", management=True)
    if run.status == 0:
        raise Missed  # nothing was left to do there
    told(run, host)
    errors = [at - cut for at, line in running.lines if at > cut and host in line and "error" in line]
    assert errors[0] < WORDS_DEADLINE, f"{host} was named {errors[0]:.0f} s after the cut"


def host_rebooted(stage: Stage, attempt: Attempt) -> None:
    host = attempt.some_host(stage)
    running = stage.begin(attempt.action)
    attempt.await_moment(stage, running)
    stage.lab.reboot(host)
    told(running.finish(), host)


def power_cut(stage: Stage, attempt: Attempt) -> None:
    host = attempt.some_host(stage)
    running = stage.begin(attempt.action)
    attempt.await_moment(stage, running)
    stage.lab.kill(host)
    stage.lab.start(host)
    told(running.finish(), host)


def rebooted_afterwards(stage: Stage, attempt: Attempt) -> None:
    hosts = (stage.lab.hosts, *((host,) for host in stage.lab.hosts))[attempt.number % 4]
    stage.lab.reboot(*hosts)
    stage.verify()  # it comes back by itself


def dockerd_restarted(stage: Stage, attempt: Attempt) -> None:
    host = attempt.random.choice(("host1", "host2"))
    running = stage.begin(attempt.action)
    attempt.await_moment(stage, running)
    stage.on(host, "systemctl restart docker")
    told(running.finish(), host)


def dockerd_without_parents(stage: Stage, attempt: Attempt) -> None:
    host = ("host1", "host2")[attempt.number % 2]
    stage.on(host, "systemctl stop docker.socket docker.service")
    stage.on(
        host, "for link in $(ls /sys/class/net | grep -E '^eth2.(10|20|30)$'); do ip link delete $link; done"
    )
    stage.on(host, "systemctl start docker")  # it makes links of these names, which are nobody's


@contextmanager
def xtables_lock(stage: Stage, host: str, seconds: float | None = None) -> Iterator[None]:
    """Hold the lock on a host, until the end of the block or for so long."""
    sleep = "infinity" if seconds is None else str(seconds)
    argv = stage.lab.ssh_argv(host, "root", f"flock /run/xtables.lock sh -c 'echo held; exec sleep {sleep}'")
    with subprocess.Popen(
        [*argv[:1], "-tt", *argv[1:]],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline().strip() == b"held"
        try:
            yield
            if seconds is not None:
                holder.wait(seconds + 10)
        finally:
            holder.terminate()


def xtables_locked_briefly(stage: Stage, attempt: Attempt) -> None:
    with xtables_lock(stage, "router"):
        running = stage.begin(attempt.action)
        assert running.await_line("router-firewall")
        assert not running.await_end(2.0)
    running.finish().check()


def xtables_locked_for_long(stage: Stage, attempt: Attempt) -> None:
    with xtables_lock(stage, "router", 60):
        run = stage.begin(attempt.action).finish()
        told(run, "router")
        assert "the firewall was locked for 20 s by" in run.output, run.output


_CHAIN = "$(iptables -S | grep -om1 'MVF-[^ ]*-VLANS')"
# Somebody's firewall program, root on the gateway. None of these touches a rule of anybody else's.
CLOBBERS = (
    f"iptables -F {_CHAIN}",
    f"iptables -I {_CHAIN} -j ACCEPT",
    "iptables-save | sed /MVF-/d | /usr/sbin/iptables-restore",
)
_INTERPOSED = """\
#!/bin/sh
rm -f "$0"
({clobber}) >/dev/null 2>&1 </dev/null
exec /usr/sbin/iptables-restore "$@"
"""


_INTERPOSER = "/usr/local/sbin/iptables-restore"  # is found before the real one


def _interpose(stage: Stage, script: str) -> None:
    """Have the router run this whenever iptables-restore is called."""
    install = f"cat >{_INTERPOSER} && chmod 755 {_INTERPOSER}"
    stage.lab.ssh("router", "sh", "-c", install, input=script, check=True)


def table_clobbered(stage: Stage, attempt: Attempt) -> None:
    """After the tables were read, and right before iptables-restore begins."""
    _interpose(stage, _INTERPOSED.format(clobber=CLOBBERS[attempt.number % len(CLOBBERS)]))
    run = stage.begin(attempt.action).finish()
    assert stage.on("router", "ls /usr/local/sbin") == "", "iptables-restore was not called"
    run.check()


# Somebody's firewall program again: the first load shuts ssh out of the host, the next one lets it in again.
_SHUTTING_OUT = """\
#!/bin/sh
/usr/sbin/iptables-restore "$@"
status=$?
if mkdir /run/shut-out; then
    iptables -I INPUT {rule}
else
    iptables -D INPUT {rule}
fi
exit $status
"""
SHUT_OUT = (
    ("-p tcp --dport 22 -m conntrack --ctstate NEW -j DROP", "it was undone at once"),
    ("-p tcp --dport 22 -j DROP", "the host has undone it by itself after 50 s"),
)


def ssh_shut_out(stage: Stage, attempt: Attempt) -> None:
    rule, how = SHUT_OUT[attempt.number % len(SHUT_OUT)]
    firewall = "iptables-save | grep -v '^[#:]'; cat /etc/macvlan-fabric/*/firewall"
    stage.set_up(attempt.action)
    before = stage.on("router", firewall)
    _interpose(stage, _SHUTTING_OUT.format(rule=rule))
    try:
        run = stage.begin(attempt.action).finish()
    finally:
        stage.on("router", f"rm -rf {_INTERPOSER} /run/shut-out")
    assert run.status != 0, run.output
    told(run, "router")
    assert f"{how}, and nothing was made persistent" in run.output, run.output
    assert stage.on("router", firewall) == before


def disk_full(stage: Stage, attempt: Attempt) -> None:
    host = ("router", "host1")[attempt.number % 2]
    stage.on(
        host,
        "n=0; for size in 1G 64M 4M 256K 4K; do "
        "while fallocate -l $size /var/tmp/full.$n 2>/dev/null; do n=$((n + 1)); done; done",
    )
    try:
        run = stage.begin(attempt.action).finish()
    finally:
        stage.on(host, "rm -f /var/tmp/full.*")
    assert run.status != 0, run.output
    told(run, host)
    assert "make room on its file system" in run.output, run.output


def read_only_etc(stage: Stage, attempt: Attempt) -> None:
    host = ("router", "host1")[attempt.number % 2]
    stage.on(host, "mount -o bind,ro /etc /etc")
    try:
        run = stage.begin(attempt.action).finish()
    finally:
        stage.on(host, "umount /etc")
    assert run.status != 0, run.output
    told(run, host)
    assert "mounted read-only; make it writable" in run.output, run.output


def _with_known_hosts(stage: Stage, attempt: Attempt, change: Callable[[str, str], str], words: str) -> None:
    host = ("host1", "router")[attempt.number % 2]
    right = stage.known_hosts.read_text()
    lines = right.splitlines()
    key = next(line for line in lines if line.startswith(f"{host} "))
    other = next(line for line in lines if not line.startswith(f"{host} "))
    stage.known_hosts.write_text(right.replace(f"{key}\n", change(host, other.split(" ", 1)[1])))
    stage.hang_up()
    try:
        run = stage.begin(attempt.action).finish()
    finally:
        stage.known_hosts.write_text(right)
        stage.hang_up()
    assert run.status != 0, run.output
    told(run, host)
    assert words in run.output, run.output


def host_key_unknown(stage: Stage, attempt: Attempt) -> None:
    _with_known_hosts(stage, attempt, lambda host, key: "", "is not known yet")


def host_key_changed(stage: Stage, attempt: Attempt) -> None:
    words = "the host was installed anew, or somebody is in between"
    _with_known_hosts(stage, attempt, lambda host, key: f"{host} {key}\n", words)


def host_down(stage: Stage, attempt: Attempt) -> None:
    host = ("host1", "router", "host2")[attempt.number % 3]
    stage.lab.kill(host)
    try:
        run = stage.begin(attempt.action).finish()
    finally:
        stage.lab.start(host)
    assert run.status != 0, run.output
    told(run, host)


def container_attached_by_hand(stage: Stage, attempt: Attempt) -> None:
    stage.on(
        "host1",
        "docker run -d --name handmade --network mac_net10 --ip 172.16.10.200 --stop-timeout 0 "
        "busybox:latest sleep infinity",
    )
    run = stage.begin(attempt.action).finish()
    still = stage.on("host1", "docker ps --format '{{.Names}} {{.Networks}}'")
    stage.on("host1", "docker rm -f handmade")
    assert run.status != 0, run.output
    told(run, "host1")
    assert "handmade mac_net10" in still, still


def destroyed_twice(stage: Stage, attempt: Attempt) -> None:
    stage.begin(attempt.action).finish().check()
    stage.begin_again(attempt.action).finish().check()


def state_lost(stage: Stage, attempt: Attempt) -> None:
    stage.forget_state()


FAULTS: tuple[Fault, ...] = (
    Fault("host key unknown", "known_hosts: host1, router", 2, ("update",), host_key_unknown),
    Fault("host key changed", "known_hosts: host1, router", 2, ("update",), host_key_changed),
    Fault("destroy twice", "the user", 2, ("destroy",), destroyed_twice),
    Fault("destroy with a container attached by hand", "host1", 2, ("destroy",), container_attached_by_hand),
    Fault(
        "firewall change that drops ssh",
        "router: new connections, every connection",
        2,
        ("update",),
        ssh_shut_out,
    ),
    Fault("disk full", "router, host1", 2, ("up",), disk_full),
    Fault("/etc read-only", "router, host1", 2, ("up",), read_only_etc),
    Fault("table clobbered between read and write", "router", 3, ("update",), table_clobbered),
    Fault(
        "provider process killed",
        "this machine, at a random moment",
        10,
        ("up", "update", "destroy"),
        provider_killed,
    ),
    Fault("ssh dropped", "this machine, once in each tenth of the work", 10, ("up",), ssh_dropped),
    Fault("ssh black-holed", "management cable of one host", 3, ("up",), ssh_black_holed),
    Fault("one host down", "each host in turn", 3, ("update",), host_down),
    Fault(
        "host rebooted while we are at it",
        "a random host, at a random moment",
        5,
        ("up", "update"),
        host_rebooted,
    ),
    Fault(
        "power cut while we are at it", "a random host, at a random moment", 5, ("up", "update"), power_cut
    ),
    Fault("reboot afterwards", "all hosts, each host", 5, ("rest",), rebooted_afterwards),
    Fault("dockerd restarted while we are at it", "host1 or host2", 3, ("up", "update"), dockerd_restarted),
    Fault("dockerd started without parents", "host1, host2", 2, ("rest",), dockerd_without_parents),
    Fault(
        "engine killed", "this machine, at a random moment", 20, ("up", "update", "destroy"), engine_killed
    ),
    Fault("state lost", "the backend", 2, ("rest",), state_lost),
    Fault(
        "xtables lock held for 2 s", "router, iptables-legacy", 2, ("up",), xtables_locked_briefly, "legacy"
    ),
    Fault(
        "xtables lock held for 60 s", "router, iptables-legacy", 2, ("up",), xtables_locked_for_long, "legacy"
    ),
)
