"""The far end of a session: a small server that runs on the host, as root, for as long as the session lasts.

Nothing is installed for it. `hosts.session` starts `python3` on the host and sends this file's source as the
first bytes of its standard input (`BOOTSTRAP`); everything after that is messages. So this file stands alone:
Python 3.6 and newer, and only modules that Debian's python3-minimal has (no json, queue, shutil or ctypes).
The controller imports it too, for the wire format.

Wire format, the same both ways: a message is `u32 length, u32 number` and then fields of `u32 length, bytes`,
all big-endian; the first length counts all that follows the number. A request's number is chosen by the
controller and comes back with the reply, so replies may come in any order. The first field is the verb of a
request or the outcome of a reply.

    request                                     reply
    ping                                        ok
    exec      deadline stdin argv...            ok status stdout stderr | late stdout stderr
    exchange  deadline path bytes               ok bytes | ok | late
    read      path                              ok content | ok
    write     path mode content                 ok
    remove    path                              ok 1 | ok 0
    entries   path                              ok name...
    lock      path holder deadline              ok | late holder
    unlock    number of the lock's request      (none)
    cancel    number of a request               (none; the request itself is answered, as `late`)
    netlink                                     ok; from then on `datagram` messages carry this number
    datagram  bytes                             datagram bytes

Any request may also be answered by `errno code text` (the operating system refused) or `defect traceback`.
Seconds and numbers are decimal digits. The agent ends, and kills what it has started, when its standard input
ends, when a signal tells it to, or when nothing at all has come from the controller for `SILENCE` seconds.
"""

# Plain os calls on bytes: file names need not be text, and pathlib and contextlib would cost start-up time.
# ruff: noqa: PTH102, PTH103, PTH104, PTH106, PTH108, PTH112, PTH114, PTH118, PTH120, PTH208, SIM105

import errno
import fcntl
import os
import select
import signal
import stat
import struct
import sys
import threading
import time

TYPE_CHECKING = False  # typing is not worth its import time
if TYPE_CHECKING:
    from collections.abc import Callable

VERSION = 1  # of the wire format; both ends come from one file, so this guards against a mix-up only
GREETING = b"\0macvlan-fabric\n"  # what precedes it on standard output is somebody's login banner
SILENCE = 40.0  # seconds; the controller pings far more often
LARGEST = 256 * 1024 * 1024  # bytes in one message; more is garbage or a runaway program
CONTENT = 64 * 1024 * 1024  # bytes in a file, or on one of a program's output streams
DATAGRAM = 1024 * 1024  # bytes; the kernel's dumps come in at most 32 KiB, unless one object alone is larger

# What `python3 -c` is given; its arguments are the two words that it would otherwise have to quote. Its
# buffer may be filled beyond the source's end, so the controller sends nothing more until it is greeted.
BOOTSTRAP = (
    "import sys;"
    "sys.version_info<(3,6) and sys.exit(sys.argv[1]+sys.version.split()[0]);"
    "i=sys.stdin.buffer;"
    "exec(compile(i.read(int(i.read(8),16)),sys.argv[2],sys.argv[2]))"
)
TOO_OLD = "macvlan-fabric:python-too-old:"
BOOTSTRAP_ARGUMENTS = (TOO_OLD, "exec")

ENVIRONMENT = {
    b"PATH": b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    b"LC_ALL": b"C",  # messages in one language, so that they can be recognised
    b"HOME": b"/root",
}

_HEAD = struct.Struct(">II")
_SIZE = struct.Struct(">I")


# The wire format


def encode(number: int, *fields: "bytes | memoryview") -> bytes:
    """One message as it goes over the wire."""
    parts = [b""]  # type: list[bytes | memoryview]
    total = 0
    for field in fields:
        parts.append(_SIZE.pack(len(field)))
        parts.append(field)
        total += _SIZE.size + len(field)
    if total > LARGEST:
        raise ValueError(f"a message of {total} bytes is over the limit of {LARGEST}")
    parts[0] = _HEAD.pack(total, number)
    return b"".join(parts)


class Messages:
    """Takes the wire's bytes in whatever pieces they come and gives back whole messages.

    ValueError if the bytes cannot be messages.
    """

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> "list[tuple[int, list[bytes]]]":
        self._bytes += data
        messages = []
        start = 0
        while len(self._bytes) - start >= _HEAD.size:
            total, number = _HEAD.unpack_from(self._bytes, start)
            if total > LARGEST:
                raise ValueError(f"a message of {total} bytes is over the limit of {LARGEST}")
            end = start + _HEAD.size + total
            if len(self._bytes) < end:
                break
            messages.append((number, self._fields(start + _HEAD.size, end)))
            start = end
        del self._bytes[:start]
        return messages

    def _fields(self, start: int, end: int) -> "list[bytes]":
        fields = []
        with memoryview(self._bytes) as view:
            while start < end:
                if end - start < _SIZE.size:
                    raise ValueError("a message ends inside a length")
                (size,) = _SIZE.unpack_from(view, start)
                start += _SIZE.size
                if size > end - start:
                    raise ValueError("a field reaches beyond its message")
                fields.append(bytes(view[start : start + size]))
                start += size
        if not fields:
            raise ValueError("a message without a verb")
        return fields


# The session


class Late(Exception):
    """The request's deadline passed, or it was cancelled; the arguments are what is known by then."""


class Job:
    """A request that is being worked on, in a thread of its own."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.cancelled = threading.Event()


class Agent:
    def __init__(self) -> None:
        self.heard = time.monotonic()
        self.sending = threading.Lock()
        self.state = threading.Lock()  # guards what follows
        self.jobs = {}  # type: dict[int, Job]
        self.locks = {}  # type: dict[int, int]  # number of the lock's request: descriptor
        self.channels = {}  # type: dict[int, Channel]
        self.groups = set()  # type: set[int]  # process groups whose leaders are not yet reaped

    def serve(self) -> None:
        os.chdir("/")
        os.umask(0o022)
        for name in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            signal.signal(name, lambda *_: self.finish())
        self.start(self.watch)
        system = os.uname()
        version = ".".join(str(part) for part in sys.version_info[:3])
        facts = [str(VERSION), str(os.geteuid()), version, sys.byteorder, system.release, system.nodename]
        facts += sys.argv[3:4] or [""]  # SSH_CONNECTION, from before sudo dropped it
        self.transmit(GREETING + encode(0, b"hello", *[os.fsencode(fact) for fact in facts]))
        messages = Messages()
        while True:
            data = os.read(0, 1 << 16)
            if not data:
                self.finish()
            self.heard = time.monotonic()
            for number, fields in messages.feed(data):
                self.dispatch(number, fields[0], fields[1:])

    def watch(self) -> None:
        """A controller whose machine or network vanished without a word must not keep its locks."""
        while time.monotonic() - self.heard < SILENCE:
            time.sleep(SILENCE / 8)
        self.finish()

    def finish(self) -> None:
        # As a signal handler this interrupts the main thread, which may hold the lock already.
        held = self.state.acquire(timeout=1.0)
        for group in self.groups:
            try:
                os.killpg(group, signal.SIGKILL)
            except OSError:
                pass
        if held:
            self.state.release()
        os._exit(0)  # threads may be inside system calls that do not return

    def start(self, function: "Callable[..., None]", *arguments: object) -> None:
        threading.Thread(target=function, args=arguments, daemon=True).start()

    def transmit(self, data: bytes) -> None:
        with self.sending:
            try:
                rest = memoryview(data)
                while rest:
                    rest = rest[os.write(1, rest) :]
            except OSError:
                self.finish()

    def send(self, number: int, *fields: "bytes | memoryview") -> None:
        self.transmit(encode(number, *fields))

    def dispatch(self, number: int, verb: bytes, fields: "list[bytes]") -> None:
        if verb == b"datagram":
            self.channels[number].put(fields[0])
        elif verb == b"ping":
            self.send(number, b"ok")
        elif verb == b"cancel":
            self.cancel(int(fields[0]))
        elif verb == b"unlock":
            self.unlock(int(fields[0]))
        else:
            job = Job(number)
            with self.state:
                self.jobs[number] = job
            try:
                self.start(self.answer, job, verb, fields)
            except RuntimeError as error:  # the host has no thread left for us
                self.send(number, b"errno", b"%d" % errno.EAGAIN, str(error).encode())

    def answer(self, job: Job, verb: bytes, fields: "list[bytes]") -> None:
        try:
            if verb in FILE_VERBS:
                reply = [b"ok", *FILE_VERBS[verb](*fields)]
            else:
                reply = [b"ok", *VERBS[verb](self, job, *fields)]
        except Late as late:
            reply = [b"late", *late.args]
        except OSError as error:
            reply = [b"errno", b"%d" % (error.errno or errno.EIO), os.fsencode(error.strerror or str(error))]
        except Exception:
            import traceback

            reply = [b"defect", os.fsencode(traceback.format_exc())]
        with self.state:
            del self.jobs[job.number]
        self.send(job.number, *reply)

    def cancel(self, number: int) -> None:
        with self.state:
            if number in self.jobs:
                self.jobs[number].cancelled.set()
        self.unlock(number)

    def execute(self, job: Job, deadline: bytes, stdin: bytes, *argv: bytes) -> "list[bytes]":
        return Program(self, job, time.monotonic() + float(deadline), argv).run(stdin)

    def exchange(self, job: Job, deadline: bytes, path: bytes, said: bytes) -> "list[bytes]":
        import socket  # 15 ms, but for the netlink channel, too

        end = time.monotonic() + float(deadline)
        heard = bytearray()
        rest = memoryview(said)
        with socket.socket(socket.AF_UNIX) as there:
            there.setblocking(False)
            while True:
                try:
                    there.connect(path)
                    break
                except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
                    return []
                except BlockingIOError:  # more are waiting for it than it wants to know of
                    if job.cancelled.wait(0.05) or time.monotonic() >= end:
                        raise Late() from None
            poll = select.poll()
            poll.register(there, select.POLLOUT if rest else select.POLLIN)
            while True:
                ready = poll.poll(50)
                if job.cancelled.is_set() or time.monotonic() >= end:
                    raise Late()
                if ready and rest:
                    rest = rest[there.send(rest) :]
                    if not rest:
                        poll.modify(there, select.POLLIN)
                elif ready:
                    data = there.recv(1 << 16)
                    if not data:
                        return [bytes(heard)]
                    heard += data
                    if len(heard) > CONTENT:
                        raise OSError(errno.EFBIG, f"more than {CONTENT} bytes came back")

    def lock(self, job: Job, path: bytes, holder: bytes, deadline: bytes) -> "list[bytes]":
        end = time.monotonic() + float(deadline)
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            pause = 0.005
            while not take(descriptor):
                if job.cancelled.wait(pause) or time.monotonic() >= end:
                    raise Late(os.pread(descriptor, 4096, 0))
                pause = min(0.1, pause * 2)
            since = time.strftime(", since %Y-%m-%d %H:%M:%S UTC", time.gmtime())
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, holder + since.encode(), 0)
            with self.state:
                if not job.cancelled.is_set():
                    self.locks[job.number] = descriptor
                    return []
            raise Late(b"")
        except BaseException:
            os.close(descriptor)
            raise

    def unlock(self, number: int) -> None:
        with self.state:
            descriptor = self.locks.pop(number, None)
        if descriptor is not None:
            os.ftruncate(descriptor, 0)
            os.close(descriptor)

    def netlink(self, job: Job) -> "list[bytes]":
        self.channels[job.number] = Channel(self, job.number)
        return []


def take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Program:
    """A program that runs for a request, in a process group of its own, never longer than the request."""

    def __init__(self, agent: Agent, job: Job, end: float, argv: "tuple[bytes, ...]") -> None:
        import subprocess  # 8 ms, which only those who need it pay

        self.agent = agent
        self.job = job
        self.end = end
        pipe = subprocess.PIPE
        with agent.state:  # `finish` must know of every program that was started
            self.process = subprocess.Popen(
                argv, 0, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True, env=ENVIRONMENT
            )
            agent.groups.add(self.process.pid)
        streams = (self.process.stdin, self.process.stdout, self.process.stderr)
        self.streams = [stream for stream in streams if stream]
        self.printed = (bytearray(), bytearray())

    def run(self, stdin: bytes) -> "list[bytes]":
        try:
            self.converse(stdin)
            while self.running():  # it has closed its output, but goes on
                self.hurry()
                self.job.cancelled.wait(0.005)
        finally:
            for stream in self.streams:
                stream.close()
        return [b"%d" % self.process.returncode, *(bytes(text) for text in self.printed)]

    def converse(self, stdin: bytes) -> None:
        """Feed the program and collect what it prints, until it closes both streams or has ended."""
        feed = self.streams[0].fileno()
        texts = dict(zip((stream.fileno() for stream in self.streams[1:]), self.printed))  # noqa: B905
        poll = select.poll()
        for descriptor in (feed, *texts):
            os.set_blocking(descriptor, False)
            poll.register(descriptor, select.POLLOUT if descriptor == feed else select.POLLIN)
        rest = memoryview(stdin)
        open_streams = len(texts)
        ended = False
        while open_streams:
            events = poll.poll(0 if ended else 50)
            for descriptor, _ in events:
                if descriptor == feed:
                    try:
                        rest = rest[os.write(feed, rest) :]
                    except OSError:  # it does not want to read all of it, which is its own affair
                        rest = rest[:0]
                    if not rest:
                        poll.unregister(feed)
                        self.streams[0].close()
                    continue
                data = os.read(descriptor, 1 << 16)
                texts[descriptor] += data
                if not data:
                    poll.unregister(descriptor)
                    open_streams -= 1
                if len(texts[descriptor]) > CONTENT:
                    self.kill()
                    raise OSError(errno.EFBIG, f"it printed more than {CONTENT} bytes")
            # What it leaves running in the background may hold the streams open for ever. All that itself has
            # printed is read when there is nothing more after its end: it may have printed just before.
            if ended and not events:
                break
            ended = not self.running()
            self.hurry()

    def running(self) -> bool:
        with self.agent.state:  # once it is reaped, its number may become somebody else's
            if self.process.poll() is None:
                return True
            self.agent.groups.discard(self.process.pid)
        return False

    def hurry(self) -> None:
        if self.job.cancelled.is_set() or time.monotonic() >= self.end:
            self.kill()
            raise Late(*(bytes(text) for text in self.printed))

    def kill(self) -> None:
        with self.agent.state:
            if self.process.pid in self.agent.groups:
                os.killpg(self.process.pid, signal.SIGKILL)
        while self.running():
            time.sleep(0.001)


# Files


def read_file(path: bytes) -> "list[bytes]":
    try:
        descriptor = os.open(
            path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
        )  # a FIFO would hold us for ever
    except (FileNotFoundError, NotADirectoryError):
        return []
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EISDIR, "Not a regular file")
        content = bytearray()
        while True:
            part = os.read(descriptor, 1 << 20)
            content += part
            if not part:
                return [bytes(content)]
            if len(content) > CONTENT:
                raise OSError(errno.EFBIG, f"Larger than {CONTENT} bytes")
    finally:
        os.close(descriptor)


def write_file(path: bytes, mode: bytes, content: bytes) -> "list[bytes]":
    if os.path.normpath(path).startswith((b"/proc/", b"/sys/")):
        # A setting, not a file: it is there or it is not, and it takes the whole value in one call.
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, content)
        finally:
            os.close(descriptor)
        return []
    made = make_folders(os.path.dirname(path))
    try:
        replace(path, int(mode), content)
    except BaseException:
        for folder in made:
            try:
                os.rmdir(folder)
            except OSError:
                pass
        raise
    return []


def make_folders(folder: bytes) -> "list[bytes]":
    """Make what is missing on the way to a folder; the new folders, innermost first."""
    if os.path.isdir(folder):
        return []
    made = make_folders(os.path.dirname(folder))
    try:
        os.mkdir(folder, 0o755)
    except FileExistsError:
        if not os.path.isdir(folder):
            raise
        return made  # somebody else was faster
    sync_folder(os.path.dirname(folder))
    return [folder, *made]


def replace(path: bytes, mode: int, content: bytes) -> None:
    new = beside(path)
    descriptor = open_locked(new)
    try:
        try:
            os.ftruncate(descriptor, 0)
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
            os.rename(new, path)
        except BaseException:
            os.unlink(new)
            raise
    finally:
        os.close(descriptor)
    sync_folder(os.path.dirname(path))


def beside(path: bytes) -> bytes:
    """Where a file's new content is written before it takes the file's place.

    The name follows from the path, so that what a power cut leaves behind is taken up by the next write and
    goes with the file.
    """
    folder, name = os.path.split(path)
    return os.path.join(folder, b"." + name[:200] + b".macvlan-fabric")


def open_locked(path: bytes) -> int:
    """Open a new file's place for ourselves; another session may be about to write the same file."""
    while True:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            if os.path.samestat(os.fstat(descriptor), os.lstat(path)):
                return descriptor
        except FileNotFoundError:
            pass
        os.close(descriptor)  # while we waited, the other session renamed it into place


def sync_folder(folder: bytes) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_file(path: bytes) -> "list[bytes]":
    try:
        os.unlink(beside(path))
    except OSError:
        pass
    try:
        if os.path.isdir(path) and not os.path.islink(path):
            os.rmdir(path)
        else:
            os.unlink(path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENOTEMPTY, errno.EEXIST):
            return [b"0"]
        raise
    sync_folder(os.path.dirname(path))
    return [b"1"]


def list_folder(path: bytes) -> "list[bytes]":
    try:
        return sorted(os.listdir(path))
    except FileNotFoundError:
        return []


# Netlink


class Channel:
    """A NETLINK_ROUTE socket of its own, whose datagrams are relayed as they are."""

    def __init__(self, agent: Agent, number: int) -> None:
        import socket  # 15 ms

        self.agent = agent
        self.number = number
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, DATAGRAM)
        try:
            # SOL_NETLINK, NETLINK_EXT_ACK: the kernel says in words why it refuses (Linux 4.12 and newer)
            self.socket.setsockopt(270, 11, 1)
        except OSError:
            pass
        self.socket.bind((0, 0))
        self.waiting = []  # type: list[bytes]
        self.more = threading.Condition()
        # The kernel does its work inside the `send` call, which can take seconds while it waits for a link's
        # last user. The session must answer meanwhile, so it is not the main thread that calls it.
        agent.start(self.down)
        agent.start(self.up)

    def put(self, datagram: bytes) -> None:
        with self.more:
            self.waiting.append(datagram)
            self.more.notify()

    def down(self) -> None:
        while True:
            with self.more:
                while not self.waiting:
                    self.more.wait()
                datagrams, self.waiting = self.waiting, []
            for datagram in datagrams:
                try:
                    self.socket.send(datagram)
                except OSError as error:
                    self.fail(error)

    def up(self) -> None:
        space = memoryview(bytearray(DATAGRAM))
        while True:
            try:
                size = self.socket.recv_into(space)
            except OSError as error:
                self.fail(error)
                return
            self.agent.send(self.number, b"datagram", space[:size])

    def fail(self, error: OSError) -> None:
        self.agent.send(self.number, b"errno", b"%d" % (error.errno or errno.EIO), str(error).encode())


VERBS = {
    b"exec": Agent.execute,
    b"exchange": Agent.exchange,
    b"lock": Agent.lock,
    b"netlink": Agent.netlink,
}  # type: dict[bytes, Callable[..., list[bytes]]]
FILE_VERBS = {
    b"read": read_file,
    b"write": write_file,
    b"remove": remove_file,
    b"entries": list_folder,
}  # type: dict[bytes, Callable[..., list[bytes]]]

if __name__ == "__main__":  # in the bootstrap; the controller only imports this file
    AGENT = Agent()
    try:
        AGENT.serve()
    except Exception:
        import traceback

        traceback.print_exc()
        AGENT.finish()
