"""What a server's processes have used, and what the machine is."""

import os, pathlib, platform, re, subprocess, time

from figures import Failed
from programs import find
from servers import tree

# Share of the CPUs below which the machine counts as idle.
QUIET = 0.04


def cpu(*pids):
    """Seconds of user and system time of the processes and all below them, threads that have ended included."""
    # clock_getcpuclockid(3): the clock of a process is made of its id. /proc/PID/stat has the same in hundredths of a second.
    return sum(time.clock_gettime_ns((~each << 3) | 2) for pid in pids for each in tree(pid)) / 1e9


def pss(*pids):
    """MiB; a page that several processes share counts in parts."""
    total = 0
    for each in (each for pid in pids for each in tree(pid)):
        try:
            text = pathlib.Path(f"/proc/{each}/smaps_rollup").read_text()
        except PermissionError:
            # vestibule keeps others from reading its memory.
            raise Failed("only root can read how much memory it has") from None
        total += int(re.search(r"^Pss:\s+(\d+)", text, re.M)[1])
    return total / 1024


def times():
    """Of all CPUs since the start, in ticks: all, idle, taken by the host for others."""
    user, nice, system, idle, wait, irq, soft, stolen = map(int, pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9])
    return user + nice + system + idle + wait + irq + soft + stolen, idle + wait, stolen


def foreign(patience=0):
    """Share of the machine's CPUs that others use, while none of ours does anything; with patience, once it is small."""
    until = time.monotonic() + patience
    while True:
        before = times()
        time.sleep(0.4)
        whole, idle, _ = (after - begin for after, begin in zip(times(), before))
        share = 1 - idle / whole
        if share <= QUIET or time.monotonic() >= until:
            return share


def first(pattern, text):
    found = re.search(pattern, text, re.M)
    return found[1].strip() if found else "unknown"


def machine():
    info = pathlib.Path("/proc/cpuinfo").read_text()
    virtual = subprocess.run(["systemd-detect-virt"], capture_output=True, text=True).stdout.strip() if find("systemd-detect-virt") else ""
    return {
        "cpu": first(r"^model name\s*: (.*)$", info),
        "cores": os.cpu_count(),
        "virtual": "hypervisor" in first(r"^flags\s*: (.*)$", info).split() or virtual not in ("", "none"),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "system": first(r'^PRETTY_NAME="(.*)"$', pathlib.Path("/etc/os-release").read_text()),
        "load": os.getloadavg()[0],
    }


def versions(binary):
    """Of every program that took part."""
    says = lambda *command: subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
    ours = says(binary, "--version")
    return {
        "vestibule": f'{first(r"^vestibule (.*)$", ours)} ({first(r"^commit (.*)$", ours)})',
        "nginx": first(r"nginx/(\S+)", says(find("nginx"), "-v")),
        "HAProxy": first(r"version (\S+)", says(find("haproxy"), "-v")) if find("haproxy") else "missing",
        "PostgreSQL": first(r"(\d+\.\d+)", says("psql", "--version")) if find("psql") else "unknown",
        "wrk": first(r"^wrk \S*?(\d+\.\d+\.\d+)", says("wrk", "-v")),
        "Python": platform.python_version(),
    }
