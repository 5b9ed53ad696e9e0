"""Where the programs of a benchmark come from: built, found or installed."""

import json, os, pathlib, shutil, subprocess, sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def build(settings=(), target=None):
    """The program as it is shipped, built where it is not up to date."""
    command = ["cargo", "build", "--locked", "--profile", "dist", "--bin", "vestibule", "--message-format", "json-render-diagnostics"]
    for setting in settings:
        command += ["--config", setting]
    if target:
        command += ["--target-dir", target]
    out = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if out.returncode:
        sys.exit(out.returncode)
    return next(path for path in (json.loads(line).get("executable") for line in out.stdout.splitlines()) if path)


def install(*packages):
    """Whether apt-get could install them."""
    as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if not shutil.which("apt-get") or (as_root and (not shutil.which("sudo") or subprocess.run([*as_root, "true"], stderr=subprocess.DEVNULL).returncode)):
        return False
    apt = [*as_root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]
    run = lambda *command: subprocess.run([*apt, *command], stdout=sys.stderr).returncode == 0
    return run("update") and run("install", "-y", "--no-install-recommends", *packages)


def find(name):
    """Servers are in folders that a user's PATH may lack."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


def need(*names):
    for name in names:
        find(name) or sys.exit(f"{name} is needed: on Debian or Ubuntu, apt-get install {name}")
