#!/usr/bin/env python3
"""go-sendxmpp, a command that sends or listens for messages, and Grace, who is slixmpp. The arguments are story.py's."""

import asyncio
import logging
import os
import tempfile

import story
from story_slixmpp import Slixmpp


class Story:
    def __init__(self, server, ada, grace, home):
        self.server, self.ada, self.home = server, ada, home
        self.grace_account = grace
        self.grace = Slixmpp(server, *grace)
        self.listener = None

    async def start(self, *options, password=None, port="port"):
        words = ["go-sendxmpp", "-u", self.ada[0], "-p", password or self.ada[1]]
        words += ["-j", f"{self.server['host']}:{self.server[port]}", "--timeout", str(story.DEADLINE_SECONDS)]
        if self.server["transport"] == "direct":
            words.append("-t")
        pipe = asyncio.subprocess.PIPE
        environment = os.environ | {"HOME": self.home, "SSL_CERT_FILE": self.server["trusted"]}
        return await asyncio.create_subprocess_exec(
            *words, *options, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.STDOUT, env=environment
        )

    async def send(self, text, **how):
        """Runs it once; its exit code and what it said."""
        program = await self.start(self.grace_account[0], **how)
        said, _ = await program.communicate(text.encode())
        return program.returncode, said.decode().strip()

    async def refused(self, reason, **how):
        code, said = await self.send("never", **how)
        story.expect(code != 0 and reason in said, f"exit code {code}: {said}")
        return f"it says: {said}"

    async def wrong_password_is_refused(self):
        return await self.refused("not-authorized", password="wrong")

    async def expired_certificate_is_refused(self):
        return await self.refused("certificate has expired", port="expired")

    async def it_sends_to_grace(self):
        await self.grace.log_in()
        await self.grace.roster()
        self.grace.available()
        text = "Guten Abend, Grace \N{WAVING HAND SIGN} & <b>hello</b>"
        code, said = await self.send(text)
        story.expect(code == 0, f"exit code {code}: {said}")
        got = await self.grace.hears(text)
        story.expect(got.sender.startswith(self.ada[0] + "/go-sendxmpp."), f"got {got}")

    async def what_grace_said_meanwhile_is_heard_first(self):
        self.grace.say(self.ada[0], "while you were away")
        await self.grace.ping()
        self.listener = await self.start("--listen")
        line = (await self.listener.stdout.readline()).decode()
        story.expect(line.endswith(f"{self.grace_account[0]}: while you were away\n"), f"it wrote {line!r}")

    async def it_hears_grace(self):
        self.grace.say(self.ada[0], "and now & <here>")
        line = (await self.listener.stdout.readline()).decode()
        story.expect(line.endswith("and now & <here>\n"), f"it wrote {line!r}")

    async def it_is_stopped(self):
        self.listener.terminate()
        await self.listener.wait()

    async def it_sends_while_grace_is_away(self):
        await self.grace.log_out()
        code, said = await self.send("Are you there?")
        story.expect(code == 0, f"exit code {code}: {said}")
        await asyncio.sleep(story.SILENCE_SECONDS)  # to store it
        self.grace = Slixmpp(self.server, *self.grace_account)
        await self.grace.log_in()
        await self.grace.roster()
        self.grace.available()
        late = await self.grace.hears("Are you there?")
        story.expect(late.sent, "no delay stamp")
        await self.grace.log_out()

    async def it_does_the_rest(self):
        raise story.Cannot("add contacts, show presence, vCards, blocking, private storage: it sends and listens only")

    STEPS = [
        wrong_password_is_refused,
        expired_certificate_is_refused,
        it_sends_to_grace,
        what_grace_said_meanwhile_is_heard_first,
        it_hears_grace,
        it_is_stopped,
        it_sends_while_grace_is_away,
        it_does_the_rest,
    ]


async def tell(server, ada, grace):
    with tempfile.TemporaryDirectory() as home:
        told = Story(server, ada, grace, home)
        name = f"go-sendxmpp {server['transport']}"
        ok = await story.play(name, Story.STEPS, told, lambda: story.notes(told.grace))
        if told.listener and told.listener.returncode is None:
            told.listener.kill()
            await told.listener.wait()
    return ok


if __name__ == "__main__":
    logging.basicConfig(level=logging.CRITICAL)
    raise SystemExit(0 if asyncio.run(tell(*story.arguments())) else 1)
