#!/usr/bin/env python3
"""Ada uses mcabber in a terminal (loudmouth and GnuTLS), Grace is slixmpp. The arguments are story.py's.

What mcabber says of things that the server does not have is passed on as `# mcabber complains: …`.
"""

import asyncio
import logging
import re
import tempfile
from pathlib import Path

import story
from screen import Screen
from story_slixmpp import Slixmpp

TROUBLE = re.compile(r"error|warn|fail|unable|invalid|could not|not support", re.IGNORECASE)


class Story:
    def __init__(self, server, ada, grace, home):
        self.server, self.home = server, Path(home)
        self.ada, self.password = ada
        self.grace_account = grace
        self.grace = Slixmpp(server, *grace)
        self.screen = self.desk = None

    def start(self, password=None, port="port"):
        """mcabber connects as it starts, as its configuration says."""
        options = {
            "jid": self.ada,
            "resource": "desk",
            "password": password or self.password,
            "server": self.server["host"],
            "port": self.server[port],
            "ssl" if self.server["transport"] == "direct" else "tls": 1,
            "ssl_ca": self.server["trusted"],
            "log_win_height": 20,
            "tracelog_level": 2,
            "tracelog_file": self.home / "trace",
        }
        file = self.home / "mcabberrc"
        file.write_text("".join(f"set {name} = {value}\n" for name, value in options.items()))
        file.chmod(0o600)
        self.screen = Screen(["mcabber", "-f", str(file)], {"HOME": str(self.home)})

    def stop(self):
        self.screen.kill()

    async def wrong_password_is_refused(self):
        self.start(password="wrong")
        await self.screen.shows("(?i)authentication failed")
        self.stop()

    async def expired_certificate_is_refused(self):
        self.start(port="expired")
        await self.screen.shows("(?i)certificate has expired|not trusted")
        said = next(line for line in self.screen.seen if re.search("(?i)certificate", line))
        self.stop()
        return f"it says: {said.partition('] ')[2]}"

    async def ada_logs_in(self):
        self.start()
        await self.screen.shows("Your status has been set")
        mechanism = re.findall(r"""mechanism=["']([^"']+)""", (self.home / "trace").read_text())
        return f"by {mechanism[-1]}" if mechanism else None

    async def ada_adds_and_sees_grace(self):
        await self.grace.log_in()
        await self.grace.roster()
        self.grace.available()
        self.screen.type(f"/add {self.grace_account[0]} Grace")
        await self.screen.shows("Sent presence notification request to")
        await self.grace.sees(self.ada, "subscribe")
        self.grace.subscription(self.ada, "subscribed")
        # In the list: an o for online.
        await self.screen.shows(r"\{o\} Grace|\[o\] Grace")

    async def grace_asks_back(self):
        self.grace.subscription(self.ada, "subscribe")
        await self.screen.shows("wants to subscribe to your")
        self.screen.type("/event * accept")
        # It adds something of its own to the resource.
        desk = self.ada + "/desk."
        seen = await self.grace.until("presence", lambda p: p.sender.startswith(desk) and p.kind == "available")
        self.desk = seen.sender

    async def a_change_of_presence_is_seen(self):
        self.grace.available("away", "lunch")
        await self.screen.shows(r"[\[{]a[\]}] Grace")

    async def they_chat_both_ways(self):
        self.screen.type("/roster search Grace")
        await self.screen.shows("Buddy: Grace")
        self.screen.type("Guten Abend, Grace & <hello>")
        got = await self.grace.hears("Guten Abend, Grace & <hello>")
        self.grace.say(got.sender, "Good evening, Ada")
        await self.screen.shows("Good evening, Ada")

    async def grace_leaves_and_a_message_waits_for_her(self):
        await self.grace.log_out()
        await self.screen.shows(r"[\[{]_[\]}] Grace")
        self.screen.type("Are you there?")
        await self.screen.shows("Are you there")
        self.grace = Slixmpp(self.server, *self.grace_account)
        await self.grace.log_in()
        await self.grace.roster()
        self.grace.available()
        await self.grace.hears("Are you there?")

    async def ada_quits_and_grace_sees_it(self):
        await self.grace.sees(self.desk)
        self.screen.type("/quit")
        await self.screen.end()
        await self.grace.sees(self.desk, "unavailable")
        await self.grace.log_out()

    async def it_blocks_and_has_vcards(self):
        raise story.Cannot("block somebody or set a vCard")

    STEPS = [
        wrong_password_is_refused,
        expired_certificate_is_refused,
        ada_logs_in,
        ada_adds_and_sees_grace,
        grace_asks_back,
        a_change_of_presence_is_seen,
        they_chat_both_ways,
        grace_leaves_and_a_message_waits_for_her,
        ada_quits_and_grace_sees_it,
        it_blocks_and_has_vcards,
    ]

    def complaints(self):
        lines = [line.partition("] ")[2] for line in self.screen.seen if TROUBLE.search(line)]
        return sorted({line for line in lines if line})


async def tell(server, ada, grace):
    with tempfile.TemporaryDirectory() as home:
        told = Story(server, ada, grace, home)
        name = f"mcabber {server['transport']}"
        explain = lambda: told.screen.text.splitlines() + story.notes(told.grace)  # noqa: E731: read when it fails
        try:
            ok = await story.play(name, Story.STEPS, told, explain)
        finally:
            told.stop()
        for line in told.complaints():
            print(f"# {name} complains: {line}")
    return ok


if __name__ == "__main__":
    logging.basicConfig(level=logging.CRITICAL)
    raise SystemExit(0 if asyncio.run(tell(*story.arguments())) else 1)
