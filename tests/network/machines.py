"""Network namespaces that stand for machines on one switch: each has its interface, its address and its byte counters.

A namespace lives as long as the process that holds it, and that ends with this one: none is left behind, whatever
happens. What still runs in it when the network is closed is killed. Needs root; unshare, nsenter and setpriv
(util-linux) and ip (iproute2).
"""

import os
import signal
import subprocess

NETWORK = "10.77.0"
INTERFACE = "eth0"
# A packet then holds what TCP hands down at once, so that headers and acknowledgements are few whether or not the
# kernel leaves segmentation to the interface.
MTU = "65535"


class NoNamespaces(Exception):
    """What a skipped test prints."""


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it has ended meanwhile


class Machine:
    """One namespace. `address` and the counters are of its interface to the switch."""

    def __init__(self, address=None):
        self.address = address
        try:
            self._holder = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo made && exec cat"],
                                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        except FileNotFoundError as error:
            raise NoNamespaces(f"skipped: network namespaces cannot be made: no {error.filename}") from None
        if not self._holder.stdout.readline():
            reason = self._holder.stderr.read().decode().strip()
            raise NoNamespaces(f"skipped: network namespaces cannot be made: {reason} (they need root)")
        self.pid = self._holder.pid

    def inside(self, command):
        """The command line that runs `command` on this machine, and ends it when this process ends."""
        return ["setpriv", "--pdeathsig", "KILL", "nsenter", f"--net=/proc/{self.pid}/ns/net", *map(str, command)]

    def start(self, command, **how):
        return subprocess.Popen(self.inside(command), **how)

    def ip(self, *words):
        try:
            subprocess.run(self.inside(["ip", *words]), check=True, capture_output=True, text=True)
        except (subprocess.CalledProcessError, FileNotFoundError) as error:
            reason = (getattr(error, "stderr", None) or str(error)).strip()
            raise NoNamespaces(f"skipped: network namespaces cannot be joined: {' '.join(words)}: {reason}") from None

    def counters(self):
        """(bytes received, bytes sent) since the machine was made."""
        with open(f"/proc/{self.pid}/net/dev", encoding="ascii") as file:
            fields = next(line for line in file if line.strip().startswith(INTERFACE + ":")).split(":")[1].split()
        return int(fields[0]), int(fields[8])

    def processes(self):
        """{process id: command line} of what runs here."""
        here = os.readlink(f"/proc/{self.pid}/ns/net")
        found = {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.readlink(f"/proc/{pid}/ns/net") == here and int(pid) != self.pid:
                    with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
                        found[int(pid)] = file.read().replace("\0", " ").strip()
            except OSError:
                continue  # it has ended meanwhile
        return found

    def close(self):
        for pid in self.processes():
            kill(pid)
        self._holder.stdin.close()
        self._holder.wait()
        self._holder.stdout.close()
        self._holder.stderr.close()


class Network:
    """`count` machines, 10.77.0.1 and up, each with a cable to one switch."""

    def __init__(self, count):
        self.machines = []
        self._switch = Machine()
        self._switch.ip("link", "add", "name", "switch", "mtu", MTU, "type", "bridge")
        self._switch.ip("link", "set", "switch", "up")
        for i in range(count):
            self._plug_in(Machine(f"{NETWORK}.{i + 1}"), f"port{i}")

    def _plug_in(self, machine, port):
        self._switch.ip("link", "add", "name", port, "mtu", MTU, "type", "veth",
                        "peer", "name", INTERFACE, "mtu", MTU, "netns", str(machine.pid))
        self._switch.ip("link", "set", port, "master", "switch", "up")
        machine.ip("link", "set", "lo", "up")
        machine.ip("address", "add", f"{machine.address}/24", "dev", INTERFACE)
        machine.ip("link", "set", INTERFACE, "up")
        self.machines.append(machine)

    def cut(self, i):
        """As if somebody pulled machine i's cable: no packet passes, and the other machines see no more than that."""
        self._switch.ip("link", "set", f"port{i}", "down")

    def mend(self, i):
        self._switch.ip("link", "set", f"port{i}", "up")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for machine in (*self.machines, self._switch):
            machine.close()
