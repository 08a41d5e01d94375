#!/usr/bin/env python3
"""Two people chat, each with slixmpp: the story every ordinary client must be able to tell.

    story_slixmpp.py HOST PORT starttls|direct CA.pem ADA@DOMAIN PASSWORD GRACE@DOMAIN PASSWORD

Both accounts must exist and have empty rosters. Each step is one line of TAP with its own deadline;
after the first failure the rest is reported as not reached. Exit code 0 only if every step was ok.

SCRAM-*-PLUS is tried where this Python can export TLS channel binding data (RFC 9266); Python's `ssl`
knows only `tls-unique` so far, which does not exist in TLS 1.3, so that step says `# SKIP` there.
"""

import asyncio
import datetime
import logging
import ssl
import sys
from pathlib import Path

from slixmpp import ClientXMPP
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

DEADLINE_SECONDS = 20
# Nothing more is expected: how long to listen before believing it.
SILENCE_SECONDS = 0.5


class Person(ClientXMPP):
    """A client that notes everything it is told, so that steps can wait for what they expect."""

    def __init__(self, server, jid, password, mechanism=None):
        settings = {"feature_mechanisms": {"use_mech": mechanism}} if mechanism else {}
        super().__init__(jid, password, plugin_config=settings)
        self.endpoint = server
        self.enable_direct_tls = server["transport"] == "direct"
        self.enable_starttls = not self.enable_direct_tls
        self.ca_certs = Path(server["ca"])
        # Subscriptions are ours to answer: the steps do it by hand.
        self.auto_authorize = None
        self.auto_subscribe = False
        self.register_plugin("xep_0199")
        self.register_plugin("xep_0203")
        self.noted = []
        self.news = asyncio.Condition()
        for event in ("session_start", "failed_all_auth", "disconnected", "roster_update", "connection_failed"):
            self.add_event_handler(event, lambda data, event=event: self.note(event, data))
        for stanza in ("message", "presence"):
            match = MatchXPath("{jabber:client}%s" % stanza)
            self.register_handler(Callback(f"note {stanza}", match, lambda s, kind=stanza: self.note(kind, s)))

    def note(self, kind, data):
        async def append():
            async with self.news:
                self.noted.append((kind, data))
                self.news.notify_all()

        asyncio.ensure_future(append())

    async def until(self, kind, wanted=lambda data: True):
        """The first thing noted of this kind that `wanted` accepts; it is taken off the notes."""

        def take():
            for entry in self.noted:
                if entry[0] == kind and wanted(entry[1]):
                    self.noted.remove(entry)
                    return entry
            return None

        async with self.news:
            while True:
                found = take()
                if found:
                    return found[1]
                await self.news.wait()

    def go(self):
        self.connect(self.endpoint["host"], self.endpoint["port"])

    async def log_in(self):
        self.go()
        await self.until("session_start")

    async def log_out(self):
        self.disconnect()
        await self.until("disconnected")


def expect(condition, what):
    if not condition:
        raise AssertionError(what)


class Story:
    def __init__(self, server, ada, grace):
        self.endpoint = server
        self.ada_account, self.grace_account = ada, grace
        self.ada = Person(server, *ada)
        self.grace = Person(server, *grace)

    async def wrong_password_is_refused(self):
        stranger = Person(self.endpoint, self.ada_account[0], self.ada_account[1] + "x")
        stranger.go()
        await stranger.until("failed_all_auth")
        expect(not any(kind == "session_start" for kind, _ in stranger.noted), "a session began")
        await stranger.log_out()

    async def unknown_account_is_refused(self):
        stranger = Person(self.endpoint, "nobody-" + self.ada_account[0], "secret")
        stranger.go()
        await stranger.until("failed_all_auth")
        await stranger.log_out()

    async def log_in_with(self, mechanism):
        person = Person(self.endpoint, *self.ada_account, mechanism=mechanism)
        await person.log_in()
        expect(person.plugin["feature_mechanisms"].mech.name.startswith("SCRAM"), "not SCRAM")
        await person.log_out()

    async def scram_sha_1(self):
        await self.log_in_with("SCRAM-SHA-1")

    async def scram_sha_256(self):
        await self.log_in_with("SCRAM-SHA-256")

    async def scram_sha_256_plus(self):
        if "tls-exporter" not in ssl.CHANNEL_BINDING_TYPES:
            return "SKIP this Python's ssl module does not offer tls-exporter"
        await self.log_in_with("SCRAM-SHA-256-PLUS")

    async def both_log_in_and_are_alone(self):
        for person in (self.ada, self.grace):
            await person.log_in()
            transport = person.transport.get_extra_info("ssl_object")
            expect(transport is not None and transport.version() in ("TLSv1.2", "TLSv1.3"), "no TLS")
            roster = await person.get_roster()
            expect(not roster["roster"]["items"], "the roster is not empty")
            person.send_presence()
            # One's own presence comes back (RFC 6121 §4.2.2).
            await person.until("presence", lambda p, me=person: p["from"] == me.boundjid and p["type"] == "available")

    async def server_answers_ping(self):
        await self.ada.plugin["xep_0199"].send_ping(self.ada.boundjid.domain)

    async def ada_adds_grace_to_her_roster(self):
        grace = self.grace.boundjid.bare
        await self.ada.update_roster(grace, name="Grace", groups=["Friends"])
        push = await self.ada.until("roster_update", lambda iq: grace in iq["roster"]["items"] and iq["type"] == "set")
        item = push["roster"]["items"][grace]
        expect(item["name"] == "Grace" and item["subscription"] == "none", f"pushed {item}")
        expect(item["groups"] == ["Friends"], f"pushed {item}")

    async def ada_asks_to_see_grace(self):
        ada, grace = self.ada.boundjid.bare, self.grace.boundjid.bare
        self.ada.send_presence_subscription(pto=grace, ptype="subscribe")
        request = await self.grace.until("presence", lambda p: p["type"] == "subscribe")
        expect(request["from"] == ada, f"request from {request['from']}")
        self.grace.send_presence_subscription(pto=ada, ptype="subscribed")
        await self.ada.until("presence", lambda p: p["type"] == "subscribed" and p["from"] == grace)

    async def ada_sees_grace(self):
        seen = await self.ada.until(
            "presence", lambda p: p["type"] == "available" and p["from"] == self.grace.boundjid
        )
        expect(seen["to"].bare == self.ada.boundjid.bare, "presence addressed to somebody else")

    async def grace_asks_back(self):
        ada, grace = self.ada.boundjid.bare, self.grace.boundjid.bare
        self.grace.send_presence_subscription(pto=ada, ptype="subscribe")
        await self.ada.until("presence", lambda p: p["type"] == "subscribe" and p["from"] == grace)
        self.ada.send_presence_subscription(pto=grace, ptype="subscribed")
        await self.grace.until("presence", lambda p: p["type"] == "available" and p["from"] == self.ada.boundjid)

    async def both_rosters_say_both(self):
        for person, other in ((self.ada, self.grace), (self.grace, self.ada)):
            # Empty if the version is still ours (RFC 6121 §2.6.3); what counts is what the client then holds.
            await person.get_roster()
            item = person.client_roster[other.boundjid.bare]
            expect(item["subscription"] == "both", f"{person.boundjid.bare} has {item['subscription']}")

    async def a_change_of_presence_is_seen(self):
        self.grace.send_presence(pshow="away", pstatus="lunch & <tea>")
        seen = await self.ada.until("presence", lambda p: p["from"] == self.grace.boundjid and p["type"] == "away")
        expect(seen["status"] == "lunch & <tea>", f"status {seen['status']!r}")

    async def they_chat_both_ways(self):
        text = "Guten Abend, Grace \N{WAVING HAND SIGN} & <b>hello</b>"
        self.ada.send_message(mto=self.grace.boundjid.bare, mbody=text, mtype="chat")
        got = await self.grace.until("message")
        expect(got["body"] == text and got["from"] == self.ada.boundjid, f"got {got}")
        expect(not got["delay"]["stamp"], "a live message carries a delay")
        self.grace.send_message(mto=got["from"], mbody="Good evening, Ada", mtype="chat")
        answer = await self.ada.until("message")
        expect(answer["body"] == "Good evening, Ada" and answer["from"] == self.grace.boundjid, f"got {answer}")

    async def grace_logs_out_and_ada_sees_it(self):
        leaving = self.grace.boundjid.full
        await self.grace.log_out()
        await self.ada.until("presence", lambda p: p["type"] == "unavailable" and p["from"] == leaving)

    async def a_message_waits_for_grace(self):
        before = datetime.datetime.now(datetime.timezone.utc)
        self.ada.send_message(mto=self.grace_account[0], mbody="Are you there?", mtype="chat")
        # The answer to a ping sent behind it proves that the server has handled the message.
        await self.ada.plugin["xep_0199"].send_ping(self.ada.boundjid.domain)
        self.grace = Person(self.endpoint, *self.grace_account)
        await self.grace.log_in()
        await self.grace.get_roster()
        self.grace.send_presence()
        late = await self.grace.until("message")
        expect(late["body"] == "Are you there?" and late["from"].bare == self.ada.boundjid.bare, f"got {late}")
        stamp = late["delay"]["stamp"]
        expect(stamp, "no delay stamp")
        expect(abs((stamp - before).total_seconds()) < 60, f"stamped {stamp}, sent {before}")

    async def it_waits_only_once(self):
        await self.grace.log_out()
        self.grace = Person(self.endpoint, *self.grace_account)
        await self.grace.log_in()
        await self.grace.get_roster()
        self.grace.send_presence()
        await self.grace.until("presence", lambda p: p["from"] == self.ada.boundjid)
        await asyncio.sleep(SILENCE_SECONDS)
        expect(not any(kind == "message" for kind, _ in self.grace.noted), "it came twice")

    async def both_log_out(self):
        for person in (self.grace, self.ada):
            await person.log_out()

    STEPS = [
        wrong_password_is_refused,
        unknown_account_is_refused,
        scram_sha_1,
        scram_sha_256,
        scram_sha_256_plus,
        both_log_in_and_are_alone,
        server_answers_ping,
        ada_adds_grace_to_her_roster,
        ada_asks_to_see_grace,
        ada_sees_grace,
        grace_asks_back,
        both_rosters_say_both,
        a_change_of_presence_is_seen,
        they_chat_both_ways,
        grace_logs_out_and_ada_sees_it,
        a_message_waits_for_grace,
        it_waits_only_once,
        both_log_out,
    ]


async def tell(server, ada, grace):
    story = Story(server, ada, grace)
    print(f"1..{len(Story.STEPS)}")
    failed = False
    for number, step in enumerate(Story.STEPS, start=1):
        title = f"{number} - slixmpp {server['transport']}: {step.__name__.replace('_', ' ')}"
        if failed:
            print(f"not ok {title} (not reached)", flush=True)
            continue
        try:
            remark = await asyncio.wait_for(step(story), DEADLINE_SECONDS)
            print(f"ok {title}" + (f" # {remark}" if remark else ""), flush=True)
        except Exception as error:
            failed = True
            reason = "deadline" if isinstance(error, asyncio.TimeoutError) else f"{type(error).__name__}: {error}"
            print(f"not ok {title}\n  # {reason}", flush=True)
            for name, person in (("ada", story.ada), ("grace", story.grace)):
                for kind, data in person.noted[-5:]:
                    print(f"  # {name} noted {kind}: {str(data)[:300]}", flush=True)
    return not failed


def main():
    if len(sys.argv) != 9 or sys.argv[3] not in ("starttls", "direct"):
        sys.exit(__doc__)
    host, port, transport, ca, ada, ada_password, grace, grace_password = sys.argv[1:]
    logging.basicConfig(level=logging.CRITICAL)
    server = {"host": host, "port": int(port), "transport": transport, "ca": ca}
    ok = asyncio.run(tell(server, (ada, ada_password), (grace, grace_password)))
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
