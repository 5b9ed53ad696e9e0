"""A throw-away PostgreSQL with LiteLLM's tables."""

import os, pathlib, shutil, subprocess, sys

from programs import ROOT
from servers import free_port


class Postgres:
    def __init__(self, work):
        found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb")) or [pathlib.Path(shutil.which("initdb") or sys.exit("PostgreSQL's server programs are needed: apt-get install postgresql"))]
        self.bin, self.port = found[-1].parent, free_port()
        self.home = work / "pg"
        self.home.mkdir()
        self.owner = []
        if os.geteuid() == 0:
            self.owner = ["runuser", "-u", "postgres", "--"]
            os.chmod(work, 0o755)
            shutil.chown(self.home, "postgres")
        self.ctl("initdb", "-U", "bench", "--auth=trust", "-E", "UTF8", "--no-sync")
        self.ctl("start", "-w", "-l", str(self.home / "log"), "-o", f"-p {self.port} -k {self.home} -c listen_addresses=127.0.0.1 -c fsync=off")
        self.sql("CREATE DATABASE litellm", "postgres")
        subprocess.run([self.bin / "psql", "-q", "-h", "127.0.0.1", "-p", str(self.port), "-U", "bench", "litellm", "-v", "ON_ERROR_STOP=1", "-f", ROOT / "tests/fixtures/litellm-schema.sql"], check=True, stdout=subprocess.DEVNULL)
        self.url = f"postgresql://bench@127.0.0.1:{self.port}/litellm"

    def ctl(self, what, *more):
        program = [self.bin / "initdb"] if what == "initdb" else [self.bin / "pg_ctl", what]
        subprocess.run([*self.owner, *program, "-D", self.home / "data", *more], check=True, stdout=subprocess.DEVNULL, cwd="/")

    def sql(self, text, database):
        subprocess.run([self.bin / "psql", "-q", "-h", "127.0.0.1", "-p", str(self.port), "-U", "bench", database, "-c", text], check=True)

    def stop(self):
        self.ctl("stop", "-m", "immediate")
