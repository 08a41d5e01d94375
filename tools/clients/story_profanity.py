#!/usr/bin/env python3
"""Ada sits at a terminal and uses profanity, by typing and reading; Grace is slixmpp. The arguments are story.py's.

What she is told that sounds like trouble is passed on as `# profanity complains: …`: for people to read, since
some of it is about what the server does not have yet. When a step fails, her screen stands below it.
"""

import asyncio
import logging
import re
import tempfile
from pathlib import Path

import story
from screen import Screen
from story_slixmpp import Slixmpp

TROUBLE = re.compile(r"error|warn|fail|unable|invalid|could not|not supported|unknown", re.IGNORECASE)


class Story:
    def __init__(self, server, ada, grace, home):
        self.server, self.home = server, Path(home)
        self.ada, self.password = ada
        self.grace_account = grace
        self.grace = Slixmpp(server, *grace)
        self.domain = self.grace.domain
        folders = {name: str(self.home) for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")}
        self.log = self.home / "log"
        command = ["profanity", "--log", "DEBUG", "--logfile", str(self.log)]
        self.screen = Screen(command, folders | {"SSL_CERT_FILE": server["trusted"]})
        self.expected = set()
        self.bookmark = False

    @property
    def desk(self):
        return self.ada + "/desk"

    async def command(self, text, *shown):
        """Types a command and waits until each pattern is on the screen, which is cleared before."""
        self.screen.type("/win 1")
        self.screen.type("/clear")
        self.screen.type(text)
        for pattern in shown:
            await self.screen.shows(pattern)

    async def command_until(self, text, shown):
        """Types a command again and again until it shows this."""
        while True:
            await self.command(text)
            try:
                return await asyncio.wait_for(self.screen.shows(shown), 1)
            except asyncio.TimeoutError:
                pass

    async def connect(self, password, *shown, port="port"):
        tls = "legacy" if self.server["transport"] == "direct" else "force"
        await self.command(f"/connect {self.desk} server {self.server['host']} port {self.server[port]} tls {tls}")
        await self.screen.shows("Enter password:")
        self.screen.type(password)
        for pattern in shown:
            await self.screen.shows(pattern)

    async def it_starts(self):
        await self.screen.shows(r"Welcome to")
        # What would change the screen while we look at it.
        for command in ("/autoaway mode off", "/reconnect 0", "/splash off", "/wins unread"):
            self.screen.type(command)
        self.screen.seen.clear()

    async def expired_certificate_is_refused(self):
        await self.connect(self.password, "certificate has expired", "'/tls deny'", port="expired")
        self.screen.type("/tls deny")
        await self.screen.shows("Aborting connection.")
        await self.screen.shows(r"\[offline\]")
        self.expected |= {"certificate has expired", "Login failed"}

    async def wrong_password_is_refused(self):
        await self.connect("wrong", "Login failed.", r"\[offline\]")

    async def ada_logs_in(self):
        self.log.write_text("")
        await self.connect(self.password, "logged in successfully, online", r"\[TLS\] \[online\]")
        mechanism = re.findall(r'<auth mechanism="([^"]+)"', self.log.read_text())
        story.expect(mechanism and mechanism[-1].startswith("SCRAM-"), f"logged in by {mechanism}")
        return f"by {mechanism[-1]}"

    async def server_answers_ping(self):
        # Right after login it does not know yet what the server can do, and says that it cannot.
        self.expected.add("Server does not support ping requests")
        await self.command_until("/ping", "Ping response from server")

    async def server_says_what_it_is(self):
        await self.command("/disco info", "im server", "vcard-temp", "urn:xmpp:ping")
        await self.command(f"/serversoftware {self.domain}", "Name +: Hearth")

    async def ada_adds_grace_to_her_roster(self):
        grace = self.grace_account[0]
        await self.command(f"/roster add {grace} Grace", r"Roster item added: .*\(Grace\)")
        await self.command("/roster group add Friends Grace", "Grace added to group Friends")
        await self.command("/roster group show Friends", r"\(Grace\) - none")

    async def ada_asks_and_sees_grace(self):
        await self.grace.log_in()
        await self.grace.roster()
        self.grace.available()
        await self.command(f"/sub request {self.grace_account[0]}")
        await self.grace.sees(self.ada, "subscribe")
        self.grace.subscription(self.ada, "subscribed")
        await self.screen.shows("Subscription received from")
        await self.screen.shows(r"\+\+ Grace .*is online")
        # And in the list at the side, below "Online".
        await self.screen.shows(r"Online \(\d\)\s*\n.*  Grace")

    async def grace_asks_back(self):
        self.grace.subscription(self.ada, "subscribe")
        await self.screen.shows("Received authorization request from")
        await self.command(f"/sub allow {self.grace_account[0]}", "Accepted subscription for")
        await self.grace.sees(self.desk)
        await self.command("/roster group show Friends", r"\(Grace\) - both")

    async def changes_of_presence_are_seen(self):
        self.grace.available("away", "lunch & <tea>", 3)
        await self.command_until("/info Grace", r'\(3\), away, "lunch & <tea>"')
        await self.command('/status set dnd "writing notes"')
        await self.grace.sees(self.desk, show="dnd", status="writing notes")
        await self.command("/status set online")
        await self.grace.sees(self.desk)

    async def they_chat_both_ways(self):
        self.screen.type("/msg Grace Guten Abend, Grace \N{WAVING HAND SIGN} & <b>hello</b>")
        got = await self.grace.hears("Guten Abend, Grace \N{WAVING HAND SIGN} & <b>hello</b>")
        story.expect(got.sender == self.desk, f"got {got}")
        self.grace.say(got.sender, "Good evening, Ada")
        await self.screen.shows(r"me: Guten Abend, Grace")
        await self.screen.shows(r"Grace.*: Good evening, Ada")

    async def announced(self, feature):
        if feature not in await self.grace.features(self.domain):
            raise story.Lacking(feature)

    async def ada_blocks_grace(self):
        await self.announced(story.BLOCKING)
        grace = self.grace_account[0]
        await self.command(f"/blocked add {grace}")
        await self.grace.sees(self.desk, "unavailable")
        await self.command_until("/blocked", re.escape(grace))
        self.grace.say(self.ada, "are you cross?")
        back = await self.grace.until("message", lambda message: message.error)
        story.expect(back.error == "service-unavailable", f"got {back}")
        await self.command(f"/blocked remove {grace}")
        await self.grace.sees(self.desk)
        story.expect("are you cross?" not in "\n".join(self.screen.seen), "a blocked message came")

    async def ada_keeps_a_bookmark(self):
        # In private storage (XEP-0048, 0049); the next login reads it.
        await self.announced(story.PRIVATE)
        await self.command("/bookmark add room@conference.localhost", "Bookmark added")
        self.bookmark = True

    async def the_bookmark_is_still_there(self):
        if not self.bookmark:
            raise story.Lacking(story.PRIVATE)
        await self.command_until("/bookmark list", "room@conference.localhost")

    async def ada_sets_a_vcard(self):
        raise story.Cannot("read or set a vCard: this version has no command for it")

    async def ada_has_a_phone_too(self):
        phone = Slixmpp(self.server, self.ada, self.password, resource="phone")
        await phone.log_in()
        await phone.roster()
        phone.available(priority=5)
        await phone.sees(self.desk)
        await phone.sees(self.grace.full)
        await self.grace.sees(phone.full)
        await self.command_until("/account", r"phone \(5\), online")
        self.grace.say(self.ada, "for both")
        await phone.hears("for both")
        await self.command("/msg Grace at my desk", "me: at my desk", "Grace.*: for both")
        await phone.log_out()
        await self.grace.sees(phone.full, "unavailable")

    async def grace_leaves_and_a_message_waits_for_her(self):
        await self.command("/win 1")
        await self.grace.log_out()
        await self.screen.shows(r"-- Grace .*is offline")
        self.screen.type("/msg Grace Are you there?")
        await self.screen.shows("me: Are you there")
        # Time to store it.
        await self.command("/ping", "Ping response from server")
        await asyncio.sleep(story.SILENCE_SECONDS)
        self.grace = Slixmpp(self.server, *self.grace_account)
        await self.grace.log_in()
        await self.grace.roster()
        self.grace.available()
        late = await self.grace.hears("Are you there?")
        story.expect(late.sent, "no delay stamp")
        await self.grace.sees(self.desk)

    async def ada_disconnects_and_a_message_waits_for_her(self):
        await self.command("/disconnect", "logged out successfully", r"\[offline\]")
        await self.grace.sees(self.desk, "unavailable")
        self.grace.say(self.ada, "while you were away")
        await self.grace.ping()
        await self.connect(self.password, "logged in successfully", r"\[TLS\] \[online\]")
        await self.screen.shows(r"<< chat message: Grace.*\(win \d\)")
        self.screen.type("/msg Grace back again")
        await self.screen.shows(r"Grace.*: while you were away")
        await self.grace.hears("back again")

    async def another_desk_takes_her_place(self):
        await self.command("/win 1")
        other = Slixmpp(self.server, self.ada, self.password, resource="desk")
        await other.log_in()
        await self.screen.shows("Lost connection.")
        await self.screen.shows(r"\[offline\]")
        story.expect("conflict" in self.log.read_text(), "nothing in its log says why")
        await other.log_out()

    async def ada_quits(self):
        self.screen.type("/quit")
        code = await self.screen.end()
        story.expect(code == 0, f"exit code {code}")
        await self.grace.log_out()

    STEPS = [
        it_starts,
        expired_certificate_is_refused,
        wrong_password_is_refused,
        ada_logs_in,
        server_answers_ping,
        server_says_what_it_is,
        ada_adds_grace_to_her_roster,
        ada_asks_and_sees_grace,
        grace_asks_back,
        changes_of_presence_are_seen,
        they_chat_both_ways,
        ada_sets_a_vcard,
        ada_has_a_phone_too,
        ada_blocks_grace,
        ada_keeps_a_bookmark,
        grace_leaves_and_a_message_waits_for_her,
        ada_disconnects_and_a_message_waits_for_her,
        the_bookmark_is_still_there,
        another_desk_takes_her_place,
        ada_quits,
    ]

    def complaints(self):
        """What sounded like trouble and was not what a step wanted to hear."""
        # Without the time before it and the list of contacts behind it.
        said = [re.split(r"\s{3,}", line.partition(" - ")[2])[0] for line in self.screen.seen]
        heard = {line for line in said if TROUBLE.search(line)}
        return sorted(line for line in heard if not any(text in line for text in self.expected))


async def tell(server, ada, grace):
    with tempfile.TemporaryDirectory() as home:
        told = Story(server, ada, grace, home)
        name = f"profanity {server['transport']}"
        try:
            ok = await story.play(
                name, Story.STEPS, told, lambda: told.screen.text.splitlines() + story.notes(told.grace)
            )
        finally:
            told.screen.kill()
        for line in told.complaints():
            print(f"# {name} complains: {line}")
    return ok


if __name__ == "__main__":
    logging.basicConfig(level=logging.CRITICAL)
    raise SystemExit(0 if asyncio.run(tell(*story.arguments())) else 1)
