#!/usr/bin/env python3
"""Two people whose server dies under them (XEP-0198), told by a client of a story: restart.py CLIENT BINARIES FOLDER

Starts servers of its own in FOLDER: `hearth`, whose core is killed and which starts it again, and a second edge on
the same core. Ada's connection goes through a relay here that can cut it and then leads to the second edge. TAP.
"""

import asyncio
import contextlib
import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import story
from story import expect

EDGE = """
name = "second"
event_loops = 1
core = "unix:{data}/link.sock"
[[listen]]
address = "127.0.0.1:0"
tls = "starttls"
[self_signed]
folder = "{data}/tls"
domains = ["localhost"]
"""


class Servers:
    """What is started here, and ended at the end, last first."""

    def __init__(self, binaries, folder):
        self.binaries, self.folder, self.data = Path(binaries), Path(folder), Path(folder) / "data"
        self.running = []

    async def start(self):
        self.folder.mkdir()
        where = ["--data", str(self.data), "--listen", "127.0.0.1", "--c2s-port", "0", "--c2s-tls-port", "0"]
        self.hearth = self.run("hearth", *where)
        said = await self.says("hearth", "Ctrl-C")
        self.first = int(re.search(r"clients +127\.0\.0\.1:(\d+) +STARTTLS", said)[1])
        (self.folder / "edge.toml").write_text(EDGE.format(data=self.data))
        self.run("hearth-connmgr", "--config", str(self.folder / "edge.toml"))
        self.second = int(re.search(r"addresses=\[127\.0\.0\.1:(\d+)", await self.says("hearth-connmgr", "ready"))[1])

    def run(self, name, *arguments):
        with open(self.folder / f"{name}.log", "wb") as log:
            process = subprocess.Popen([self.binaries / name, *arguments], stdout=log, stderr=log)
        self.running.append(process)
        return process

    async def says(self, name, words):
        while words not in (text := (self.folder / f"{name}.log").read_text()):
            await asyncio.sleep(0.05)
        return text

    def ctl(self, *words, given=None):
        command = [self.binaries / "hearthctl", "--data", str(self.data), *words]
        return subprocess.run(command, input=given, capture_output=True, text=True)

    def core(self):
        """Process id of the core, a child of `hearth`."""
        pid = self.hearth.pid
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            # One that was listed may be gone.
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")[1:2] == [b"core"]:
                    return int(child)
        return None

    async def next_core(self, killed):
        """Waits for another core that answers."""
        while self.core() in (None, killed) or self.ctl("status").returncode != 0:
            await asyncio.sleep(0.05)

    def stop(self):
        for process in reversed(self.running):
            process.terminate()
            process.wait()


class Network:
    """A relay between a client and one of the edges."""

    async def start(self, port):
        self.port, self.ways = port, set()
        server = await asyncio.start_server(self.connected, "127.0.0.1", 0)
        self.address = server.sockets[0].getsockname()[1]

    async def connected(self, reader, writer):
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.port)
        both = {writer.transport, far_writer.transport}
        self.ways |= both
        await asyncio.gather(self.copy(reader, far_writer), self.copy(far_reader, writer), return_exceptions=True)
        self.ways -= both

    async def copy(self, reader, writer):
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()

    def cut(self, port):
        """All connections are gone without a word; the next ones lead elsewhere."""
        self.port = port
        for transport in list(self.ways):
            transport.abort()


class Restart:
    def __init__(self, person, servers):
        self.person, self.servers, self.network = person, servers, Network()
        self.number = 0

    async def the_servers_start(self):
        await self.servers.start()
        await self.network.start(self.servers.first)
        trusted = str(self.servers.data / "tls" / "self-signed.pem")
        accounts = [f"{name}@localhost" for name in ("ada", "grace")]
        for account in accounts:
            made = self.servers.ctl("user", "add", account, "--password-stdin", given="secret")
            expect(made.returncode == 0, made.stderr)
        friends = self.servers.ctl("roster", "add", *accounts, "--both")
        expect(friends.returncode == 0, friends.stderr)

        def at(port):
            return {"host": "localhost", "port": port, "transport": "starttls", "trusted": trusted, "expired": 0}

        self.ada = self.person(at(self.network.address), accounts[0], "secret")
        self.grace = self.person(at(self.servers.first), accounts[1], "secret")

    async def both_log_in_and_may_resume(self):
        for person in (self.ada, self.grace):
            person.manage()
            await person.log_in()
            await person.roster()
            person.available()
            await person.sees(person.full)
            while not person.may_resume():
                await asyncio.sleep(0.05)
        await self.ada.sees(self.grace.full)

    async def chat(self):
        """One message each way; they come once, which the last step sees."""
        await self.heard(self.spoken())

    def spoken(self):
        self.number += 1
        text = f"message {self.number}"
        self.ada.say(self.grace.account, text)
        self.grace.say(self.ada.account, text)
        return text

    async def heard(self, text):
        for person in (self.ada, self.grace):
            await person.hears(text)

    async def they_chat(self):
        await self.chat()

    async def the_core_is_killed_and_they_notice_nothing(self):
        return await self.restart()

    async def restart(self):
        before = self.spoken()
        core = self.servers.core()
        os.kill(core, signal.SIGKILL)
        begun = time.monotonic()
        meanwhile = self.spoken()
        await self.servers.next_core(core)
        await self.heard(before)
        await self.heard(meanwhile)
        took = time.monotonic() - begun
        for person in (self.ada, self.grace):
            await person.ping()
            self.noticed_nothing(person)
        await self.chat()
        return f"what was said meanwhile came after {took:.1f} s"

    def noticed_nothing(self, person):
        news = [note for note in person.noted if note[0] not in ("message", "roster")]
        news = [note for note in news if note[0] != "presence" or note[1].kind != "available"]
        expect(not news, f"{person.account} noted {news}")

    async def ada_loses_her_network_and_resumes_through_the_other_edge(self):
        self.network.cut(self.servers.second)
        await self.ada.until("lost")
        self.grace.say(self.ada.account, "while you were away")
        await self.ada.come_back()
        await self.ada.until("resumed")
        await self.ada.hears("while you were away")
        self.noticed_nothing(self.grace)
        at = [row["edge"] for row in json.loads(self.servers.ctl("sessions", "list", "--json").stdout)]
        expect("second" in at, f"sessions are at {at}")
        # What else a client notes of its loss.
        self.ada.noted = [note for note in self.ada.noted if note[0] in ("message", "presence", "roster")]
        await self.chat()

    async def the_core_is_killed_again(self):
        return await self.restart()

    async def nothing_came_twice(self):
        await asyncio.sleep(story.SILENCE_SECONDS)
        for person in (self.ada, self.grace):
            more = [note for note in person.noted if note[0] == "message"]
            expect(not more, f"{person.account} noted {more}")

    async def both_log_out(self):
        for person in (self.ada, self.grace):
            await person.log_out()

    STEPS = [
        the_servers_start,
        both_log_in_and_may_resume,
        they_chat,
        the_core_is_killed_and_they_notice_nothing,
        ada_loses_her_network_and_resumes_through_the_other_edge,
        the_core_is_killed_again,
        nothing_came_twice,
        both_log_out,
    ]

    def explain(self):
        notes = story.notes(self.ada, self.grace) if hasattr(self, "grace") else []
        logs = [(self.servers.folder / f"{name}.log").read_text() for name in ("hearth", "hearth-connmgr")]
        return notes + [line for log in logs for line in log.splitlines()[-15:]]


async def tell(person, servers):
    told = Restart(person, servers)
    return await story.play(f"{person.client} restart", Restart.STEPS, told, told.explain)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: restart.py CLIENT BINARIES FOLDER")
    name, binaries, folder = sys.argv[1:]
    client = getattr(importlib.import_module(f"story_{name}"), name.capitalize())
    client.begin()
    servers = Servers(binaries, folder)
    try:
        ok = asyncio.run(tell(client, servers))
    finally:
        servers.stop()
    sys.stdout.flush()
    sys.exit(0 if ok else 1)
