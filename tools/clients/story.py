"""Two people chat: the story that every ordinary client must be able to tell, whatever library it is made of.

A client is a subclass of `Person`, in a file of its own that ends with `tell(ItsPerson)`:

    story_X.py HOST PORT starttls|direct TRUSTED.pem EXPIRED_PORT ADA@DOMAIN PASSWORD GRACE@DOMAIN PASSWORD

Both accounts must exist and have empty rosters. TRUSTED.pem holds the server's certificate, then the authority
that signed the one behind EXPIRED_PORT, so that nothing but its age speaks against that. Each step is one line of
TAP with its own deadline; after the first failure the rest is reported as not reached. What a client has no means
for is a line `# X cannot: …`, never a step that passed. Exit code 0 only if every step was ok.
"""

import asyncio
import datetime
import sys
from dataclasses import dataclass, field

DEADLINE_SECONDS = 40
# Nothing more is expected: how long to listen before believing it.
SILENCE_SECONDS = 0.5
BLOCKING, PRIVATE = "urn:xmpp:blocking", "jabber:iq:private"


class Cannot(Exception):
    """The client has no means for this."""


class Lacking(Exception):
    """The server does not announce what a step needs."""


class Refused(Exception):
    """The server did not let the client in; the text is what the client says about it."""


class Untrusted(Exception):
    """The client did not accept the server's certificate; the text is what it says about it."""


@dataclass
class Message:
    """`error` is the condition of a message that came back, `sent` the time of one that waited."""

    sender: str
    body: str
    sent: datetime.datetime | None = None
    error: str | None = None


@dataclass
class Presence:
    """`kind` is available, unavailable, or the type of a subscription stanza."""

    sender: str
    kind: str
    show: str = ""
    status: str = ""
    priority: int = 0


@dataclass
class Item:
    """A roster item, pushed or in a result."""

    jid: str
    name: str | None
    subscription: str
    groups: set = field(default_factory=set)


class Person:
    """A client that notes what it is told, as `Message`, `Presence`, `Item` (a push) or `Closed` (a text).

    What a client does is overridden below; a method left alone is something it cannot do.
    """

    client = "?"
    # What a client that was refused says, at least.
    refusal = "not-authorized"

    def __init__(self, server, account, password, resource=None, expired=False):
        self.host = server["host"]
        self.port = server["expired" if expired else "port"]
        self.direct = server["transport"] == "direct"
        self.trusted = server["trusted"]
        self.account, self.password, self.resource = account, password, resource
        self.domain = account.partition("@")[2]
        self.noted = []
        self.news = asyncio.Condition()

    @classmethod
    def begin(cls):
        """Before the first of them is made."""

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

    async def sees(self, sender, kind="available", **wanted):
        """Waits for this presence."""

        def fits(presence):
            same = all(getattr(presence, name) == value for name, value in wanted.items())
            return presence.sender == sender and presence.kind == kind and same

        return await self.until("presence", fits)

    async def hears(self, body):
        """Waits for a message of this text."""
        return await self.until("message", lambda message: message.body == body)

    @property
    def full(self):
        """The full JID that was bound."""
        raise NotImplementedError

    @property
    def mechanism(self):
        """The SASL mechanism that was used."""
        raise Cannot("say how it logged in")

    async def log_in(self):
        """Connects and binds, without presence; raises `Refused` or `Untrusted`."""
        raise NotImplementedError

    async def log_out(self):
        raise NotImplementedError

    def manage(self):
        """Uses stream management (XEP-0198) from the next login on."""
        raise Cannot("resume its stream (XEP-0198)")

    def may_resume(self):
        """Whether the server has promised that the stream can be resumed."""
        raise Cannot("resume its stream (XEP-0198)")

    async def come_back(self):
        """Connects anew after `lost` was noted; notes `resumed`."""
        raise Cannot("resume its stream (XEP-0198)")

    def available(self, show="", status="", priority=0):
        raise NotImplementedError

    def subscription(self, to, kind):
        """Sends presence of type `subscribe`, `subscribed`, …"""
        raise NotImplementedError

    def say(self, to, body):
        raise NotImplementedError

    async def roster(self):
        """The roster as the client holds it once the server has answered."""
        raise NotImplementedError

    async def keep(self, jid, name, groups):
        """Sets a roster item."""
        raise NotImplementedError

    async def ping(self):
        """Pings the server."""
        raise NotImplementedError

    async def features(self, jid):
        """Asks for service discovery: identities as `category/type` and features, in one set."""
        raise Cannot("ask what the server can do (XEP-0030)")

    async def set_vcard(self, name):
        raise Cannot("set its vCard (XEP-0054)")

    async def vcard(self, jid):
        """The full name in somebody's vCard."""
        raise Cannot("read a vCard (XEP-0054)")

    async def store(self, text):
        """Keeps a text in private storage, of whatever kind the client has."""
        raise Cannot("use private storage (XEP-0049)")

    async def stored(self):
        raise Cannot("use private storage (XEP-0049)")

    async def block(self, jid):
        raise Cannot("block somebody (XEP-0191)")

    async def unblock(self, jid):
        raise Cannot("block somebody (XEP-0191)")

    async def blocked(self):
        raise Cannot("say whom it blocks (XEP-0191)")


def expect(condition, what):
    if not condition:
        raise AssertionError(what)


class Story:
    """The steps, in order. `cannot` collects what a step could not do."""

    def __init__(self, person, server, ada, grace):
        self.person, self.server = person, server
        self.ada_account, self.grace_account = ada, grace
        self.ada, self.grace = person(server, *ada), person(server, *grace)
        self.cannot = []

    async def refusal(self, account, password):
        stranger = self.person(self.server, account, password)
        try:
            await stranger.log_in()
        except Refused as refused:
            expect(self.person.refusal in str(refused), f"refused with {refused}")
            return
        raise AssertionError("a session began")

    async def wrong_password_is_refused(self):
        await self.refusal(self.ada_account[0], self.ada_account[1] + "x")

    async def unknown_account_is_refused(self):
        await self.refusal("nobody-" + self.ada_account[0], "secret")

    async def expired_certificate_is_refused(self):
        stranger = self.person(self.server, *self.ada_account, expired=True)
        try:
            await stranger.log_in()
        except Untrusted as untrusted:
            return f"it says: {str(untrusted)[:100]}"
        raise AssertionError("a session began")

    async def both_log_in_and_are_alone(self):
        for person in (self.ada, self.grace):
            await person.log_in()
            expect(not await person.roster(), "the roster is not empty")
            person.available()
            # One's own presence comes back (RFC 6121 §4.2.2).
            await person.sees(person.full)
        mechanism = self.ada.mechanism
        expect(mechanism.startswith("SCRAM-"), f"logged in by {mechanism}")
        return f"by {mechanism}"

    async def server_answers_ping(self):
        await self.ada.ping()

    async def server_says_what_it_can_do(self):
        found = await self.ada.features(self.ada.domain)
        expect("server/im" in found, f"identities and features {found}")
        expect({"http://jabber.org/protocol/disco#info", "urn:xmpp:ping", "vcard-temp"} <= found, f"found {found}")

    async def ada_adds_grace_to_her_roster(self):
        await self.kept("Grace", {"Friends"})

    async def ada_puts_grace_into_two_groups(self):
        await self.kept("Grace & Co", {"Friends", "Work <9 to 5>"})

    async def kept(self, name, groups):
        grace = self.grace_account[0]
        await self.ada.keep(grace, name, groups)
        wanted = Item(grace, name, "none", groups)
        await self.ada.until("roster", lambda item: item == wanted)
        roster = await self.ada.roster()
        expect(roster == [wanted], f"the roster is {roster}")

    async def ada_asks_to_see_grace(self):
        ada, grace = self.ada_account[0], self.grace_account[0]
        self.ada.subscription(grace, "subscribe")
        await self.grace.sees(ada, "subscribe")
        self.grace.subscription(ada, "subscribed")
        await self.ada.sees(grace, "subscribed")

    async def ada_sees_grace(self):
        await self.ada.sees(self.grace.full)

    async def grace_asks_back(self):
        ada, grace = self.ada_account[0], self.grace_account[0]
        self.grace.subscription(ada, "subscribe")
        await self.ada.sees(grace, "subscribe")
        self.ada.subscription(grace, "subscribed")
        await self.grace.sees(self.ada.full)

    async def both_rosters_say_both(self):
        for person, other in ((self.ada, self.grace), (self.grace, self.ada)):
            await person.until("roster", lambda item: item.jid == other.account and item.subscription == "both")
            roster = await person.roster()
            expect([item.subscription for item in roster] == ["both"], f"{person.account} has {roster}")

    async def a_change_of_presence_is_seen(self):
        self.grace.available(show="away", status="lunch & <tea>", priority=3)
        await self.ada.sees(self.grace.full, show="away", status="lunch & <tea>", priority=3)

    async def they_chat_both_ways(self):
        text = "Guten Abend, Grace \N{WAVING HAND SIGN} & <b>hello</b>"
        self.ada.say(self.grace_account[0], text)
        got = await self.grace.hears(text)
        expect(got.sender == self.ada.full and not got.sent, f"got {got}")
        self.grace.say(got.sender, "Good evening, Ada")
        answer = await self.ada.hears("Good evening, Ada")
        expect(answer.sender == self.grace.full, f"got {answer}")

    async def grace_reads_the_vcard_of_ada(self):
        await self.ada.set_vcard("Ada <Lovelace> & Daughters")
        name = await self.grace.vcard(self.ada_account[0])
        expect(name == "Ada <Lovelace> & Daughters", f"read {name!r}")

    async def announced(self, feature):
        """Without it the step is left out, and told in a line of its own."""
        if feature not in await self.ada.features(self.ada.domain):
            raise Lacking(feature)

    async def ada_stores_a_note_for_herself(self):
        await self.announced(PRIVATE)
        await self.ada.store("meet <Grace> & Charles")
        text = await self.ada.stored()
        expect(text == "meet <Grace> & Charles", f"stored {text!r}")

    async def ada_has_a_phone_too(self):
        phone = self.person(self.server, *self.ada_account, resource="phone")
        await phone.log_in()
        await phone.roster()
        phone.available(priority=5)
        for person in (self.ada, self.grace):
            await person.sees(phone.full, priority=5)
        # And the phone is told who is there: her desk, and Grace.
        await phone.sees(self.ada.full)
        await phone.sees(self.grace.full)
        # A message to the account comes to both, one to a full JID to that alone.
        self.grace.say(self.ada_account[0], "for both")
        self.grace.say(phone.full, "for the phone")
        await phone.hears("for both")
        await phone.hears("for the phone")
        await self.ada.hears("for both")
        await self.ada.ping()
        await asyncio.sleep(SILENCE_SECONDS)
        expect(not any(kind == "message" for kind, _ in self.ada.noted), "the desk got what was for the phone")
        await phone.log_out()
        for person in (self.ada, self.grace):
            await person.sees(phone.full, "unavailable")

    async def one_resource_twice_is_a_conflict(self):
        first, second = (self.person(self.server, *self.ada_account, resource="twin") for _ in range(2))
        await first.log_in()
        await second.log_in()
        expect(first.full == second.full, f"{first.full} and {second.full}")
        reason = await first.until("closed")
        expect("conflict" in reason, f"the first was closed with {reason!r}")
        await second.ping()
        await second.log_out()

    async def ada_blocks_grace(self):
        await self.announced(BLOCKING)
        grace = self.grace_account[0]
        await self.ada.block(grace)
        # RFC 6121 and XEP-0191 §3.3: to whom is blocked, one goes.
        await self.grace.sees(self.ada.full, "unavailable")
        expect(await self.ada.blocked() == {grace}, "the list does not hold her")
        self.grace.say(self.ada_account[0], "are you cross?")
        back = await self.grace.until("message", lambda message: message.error)
        expect(back.error == "service-unavailable", f"got {back}")
        await self.ada.unblock(grace)
        await self.grace.sees(self.ada.full)
        await self.ada.sees(self.grace.full)
        expect(await self.ada.blocked() == set(), "the list still holds somebody")
        expect(not any(kind == "message" for kind, _ in self.ada.noted), "a blocked message came")

    async def grace_logs_out_and_ada_sees_it(self):
        leaving = self.grace.full
        await self.grace.log_out()
        await self.ada.sees(leaving, "unavailable")

    async def grace_returns(self):
        self.grace = self.person(self.server, *self.grace_account)
        await self.grace.log_in()
        await self.grace.roster()
        self.grace.available()

    async def a_message_waits_for_grace(self):
        before = datetime.datetime.now(datetime.timezone.utc)
        self.ada.say(self.grace_account[0], "Are you there?")
        # Messages are stored in order: when one to herself arrives, that before it waits for Grace.
        self.ada.say(self.ada_account[0], "note to self")
        await self.ada.hears("note to self")
        await self.grace_returns()
        late = await self.grace.hears("Are you there?")
        expect(late.sender == self.ada.full and late.sent, f"got {late}")
        expect(abs((late.sent - before).total_seconds()) < 60, f"stamped {late.sent}, sent {before}")

    async def it_waits_only_once(self):
        await self.grace.log_out()
        await self.grace_returns()
        await self.grace.sees(self.ada.full)
        await asyncio.sleep(SILENCE_SECONDS)
        expect(not any(kind == "message" for kind, _ in self.grace.noted), "it came twice")

    async def both_log_out(self):
        for person in (self.grace, self.ada):
            await person.log_out()

    STEPS = [
        wrong_password_is_refused,
        unknown_account_is_refused,
        expired_certificate_is_refused,
        both_log_in_and_are_alone,
        server_answers_ping,
        server_says_what_it_can_do,
        ada_adds_grace_to_her_roster,
        ada_puts_grace_into_two_groups,
        ada_asks_to_see_grace,
        ada_sees_grace,
        grace_asks_back,
        both_rosters_say_both,
        a_change_of_presence_is_seen,
        they_chat_both_ways,
        grace_reads_the_vcard_of_ada,
        ada_stores_a_note_for_herself,
        ada_has_a_phone_too,
        one_resource_twice_is_a_conflict,
        ada_blocks_grace,
        grace_logs_out_and_ada_sees_it,
        a_message_waits_for_grace,
        it_waits_only_once,
        both_log_out,
    ]


async def play(name, steps, story, explain):
    """Runs the steps, methods of `story`, and tells TAP; `explain` gives the lines that explain a failure."""
    print(f"1..{len(steps)}", flush=True)
    failed = False
    for number, step in enumerate(steps, start=1):
        words = step.__name__.replace("_", " ")
        title = f"{number} - {name}: {words}"
        if failed:
            print(f"not ok {title} (not reached)", flush=True)
            continue
        try:
            remark = await asyncio.wait_for(step(story), DEADLINE_SECONDS)
            print(f"ok {title}" + (f" # {remark}" if remark else ""), flush=True)
        except Cannot as what:
            # Neither passed nor failed.
            print(f"# {name} cannot: {what} ({words})", flush=True)
        except Lacking as what:
            print(f"# {name}: left out, the server does not announce {what} ({words})", flush=True)
        except Exception as error:
            failed = True
            reason = "deadline" if isinstance(error, asyncio.TimeoutError) else f"{type(error).__name__}: {error}"
            print(f"not ok {title}", flush=True)
            for line in reason.splitlines() + explain():
                print(f"  # {line}", flush=True)
    return not failed


def notes(*people):
    """What these people noted last."""
    return [f"{person.account} noted {noted}" for person in people for noted in person.noted[-6:]]


def arguments():
    """The command line, as server, Ada and Grace."""
    if len(sys.argv) != 10 or sys.argv[3] not in ("starttls", "direct"):
        name = sys.argv[0].rpartition("/")[2]
        sys.exit(
            f"usage: {name} HOST PORT starttls|direct TRUSTED.pem EXPIRED_PORT ADA@DOMAIN PASSWORD GRACE@DOMAIN PASSWORD"
        )
    host, port, transport, trusted, expired, *accounts = sys.argv[1:]
    server = {"host": host, "port": int(port), "transport": transport, "trusted": trusted, "expired": int(expired)}
    return server, tuple(accounts[:2]), tuple(accounts[2:])


def tell(person, more=()):
    """Tells the story with this kind of client, and steps of its own behind it; ends the process."""
    server, ada, grace = arguments()
    person.begin()

    async def told():
        # Clients are made inside the event loop that they will use.
        story = Story(person, server, ada, grace)
        name = f"{person.client} {server['transport']}"
        return await play(name, Story.STEPS + list(more), story, lambda: notes(story.ada, story.grace))

    ok = asyncio.run(told())
    sys.stdout.flush()
    sys.exit(0 if ok else 1)
