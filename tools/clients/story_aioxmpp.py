#!/usr/bin/env python3
"""The story of story.py, told by aioxmpp (PyOpenSSL for TLS, aiosasl for SCRAM)."""

import asyncio
import logging
import warnings

import story

warnings.filterwarnings("ignore")  # of what it imports

import aiosasl  # noqa: E402
import aioxmpp  # noqa: E402
import aioxmpp.blocking.xso  # noqa: E402
import aioxmpp.connector  # noqa: E402
import aioxmpp.private_xml  # noqa: E402
import aioxmpp.vcard  # noqa: E402
import lxml.etree  # noqa: E402
import OpenSSL.SSL  # noqa: E402

VCARD_NAME = "{vcard-temp}FN"


@aioxmpp.private_xml.Query.as_payload_class
class Note(aioxmpp.xso.XSO):
    """What is kept in private storage."""

    TAG = ("urn:hearth:story", "note")
    text = aioxmpp.xso.Text(default=None)


class Mechanisms(logging.Handler):
    """Reads the mechanism off the log of aiosasl, the only place where it is said."""

    used = None

    def emit(self, record):
        if record.args:
            Mechanisms.used = str(record.args[0])


class Aioxmpp(story.Person):
    client = "aioxmpp"
    # It keeps the condition to itself and goes back to its user for another password.
    refusal = "the password was asked for again"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        jid = aioxmpp.JID.fromstr(self.account).replace(resource=self.resource)
        connector = aioxmpp.connector.XMPPOverTLSConnector() if self.direct else aioxmpp.connector.STARTTLSConnector()
        self.stream = aioxmpp.Client(
            jid,
            aioxmpp.make_security_layer(self.give_password, ssl_context_factory=self.context),
            override_peer=[(self.host, self.port, connector)],
            max_initial_attempts=1,
        )
        self.contacts = self.stream.summon(aioxmpp.RosterClient)
        self.disco = self.stream.summon(aioxmpp.DiscoClient)
        self.blocking = self.stream.summon(aioxmpp.BlockingClient)
        self.pinger = self.stream.summon(aioxmpp.PingService)
        self.vcards = self.stream.summon(aioxmpp.vcard.VCardService)
        self.storage = self.stream.summon(aioxmpp.private_xml.PrivateXMLService)
        # Before its own services look at them, so that we see what they take for themselves.
        self.stream.stream.app_inbound_message_filter.register(self.on_message, 0)
        self.stream.stream.app_inbound_presence_filter.register(self.on_presence, 0)
        for signal in ("entry_added", "entry_name_changed", "entry_subscription_state_changed"):
            getattr(self.contacts, "on_" + signal).connect(self.on_item)
        for signal in ("entry_added_to_group", "entry_removed_from_group"):
            getattr(self.contacts, "on_" + signal).connect(lambda item, group: self.on_item(item))
        self.stream.on_stream_established.connect(lambda: self.note("login", None))
        self.stream.on_failure.connect(self.on_failure)
        self.stream.on_stopped.connect(lambda: self.note("stopped", None))

    async def give_password(self, jid, attempts):
        self.attempts = attempts
        return self.password if attempts == 0 else None

    def context(self):
        context = OpenSSL.SSL.Context(OpenSSL.SSL.TLS_CLIENT_METHOD)
        context.load_verify_locations(self.trusted)
        return context

    def on_failure(self, error):
        self.note("login", error)
        self.note("closed", f"{getattr(error, 'condition', '')} {error}")

    def on_message(self, m):
        sent = m.xep0203_delay[0].stamp if m.xep0203_delay else None
        error = m.error.condition.enum_member.value[1] if m.error else None
        self.note("message", story.Message(str(m.from_), m.body.any() if m.body else "", sent, error))
        return m

    def on_presence(self, p):
        kind = p.type_.value or "available"
        status = p.status.any() if p.status else ""
        self.note("presence", story.Presence(str(p.from_), kind, p.show.value or "", status, p.priority))
        return p

    def on_item(self, item):
        self.note("roster", self.item(item))

    @staticmethod
    def item(item):
        return story.Item(str(item.jid), item.name or None, item.subscription, set(item.groups))

    @property
    def full(self):
        return str(self.stream.local_jid)

    @property
    def mechanism(self):
        return Mechanisms.used

    async def log_in(self):
        self.attempts = 0
        self.stream.start()
        error = await self.until("login")
        if error is None:
            return
        # What failed for each address that was tried.
        for cause in getattr(error, "exceptions", [error]):
            if isinstance(cause, (aiosasl.AuthenticationFailure, aioxmpp.errors.SASLUnavailable)):
                raise story.Refused(self.refusal if self.attempts else cause)
            # Its TLS layer trips over its own refusal of a certificate; behind that stands what OpenSSL said.
            refused = cause.__context__ if isinstance(cause, asyncio.InvalidStateError) else cause
            if isinstance(refused, OpenSSL.SSL.Error):
                raise story.Untrusted(refused)
        raise error

    async def log_out(self):
        self.stream.stop()
        await self.until("stopped")

    def available(self, show="", status="", priority=0):
        presence = aioxmpp.Presence(type_=aioxmpp.PresenceType.AVAILABLE, show=aioxmpp.PresenceShow(show or None))
        if status:
            presence.status[None] = status
        presence.priority = priority
        self.stream.enqueue(presence)

    def subscription(self, to, kind):
        peer = aioxmpp.JID.fromstr(to)
        {"subscribe": self.contacts.subscribe, "subscribed": self.contacts.approve}[kind](peer)

    def say(self, to, body):
        message = aioxmpp.Message(type_=aioxmpp.MessageType.CHAT, to=aioxmpp.JID.fromstr(to))
        message.body[None] = body
        self.stream.enqueue(message)

    async def roster(self):
        # It has asked during login.
        return [self.item(item) for item in self.contacts.items.values()]

    async def keep(self, jid, name, groups):
        jid = aioxmpp.JID.fromstr(jid)
        held = self.contacts.items.get(jid)
        gone = held.groups - groups if held else set()
        await self.contacts.set_entry(jid, name=name, add_to_groups=groups, remove_from_groups=gone)

    async def ping(self):
        await self.pinger.ping(aioxmpp.JID.fromstr(self.domain))

    async def features(self, jid):
        info = await self.disco.query_info(aioxmpp.JID.fromstr(jid), require_fresh=True)
        return {f"{identity.category}/{identity.type_}" for identity in info.identities} | set(info.features)

    async def set_vcard(self, name):
        vcard = await self.vcards.get_vcard()
        held = vcard.elements.find(VCARD_NAME)
        if held is None:
            held = lxml.etree.SubElement(vcard.elements, VCARD_NAME)
        held.text = name
        await self.vcards.set_vcard(vcard)

    async def vcard(self, jid):
        return (await self.vcards.get_vcard(aioxmpp.JID.fromstr(jid))).elements.findtext(VCARD_NAME)

    async def store(self, text):
        note = Note()
        note.text = text
        await self.storage.set_private_xml(note)

    async def stored(self):
        return (await self.storage.get_private_xml(Note())).registered_payload.text

    async def block(self, jid):
        await self.blocking.block_jids([aioxmpp.JID.fromstr(jid)])

    async def unblock(self, jid):
        await self.blocking.unblock_jids([aioxmpp.JID.fromstr(jid)])

    async def blocked(self):
        # Its own list follows pushes, some time after the answer; the server's is what counts.
        question = aioxmpp.IQ(type_=aioxmpp.IQType.GET, payload=aioxmpp.blocking.xso.BlockList())
        return {str(jid) for jid in (await self.stream.send(question)).items}


if __name__ == "__main__":
    logging.getLogger().addHandler(logging.NullHandler())
    scram = logging.getLogger("aiosasl.scram")
    scram.setLevel(logging.INFO)
    scram.addHandler(Mechanisms())
    logging.getLogger("asyncio").setLevel(logging.CRITICAL + 1)  # of failures that steps have told already
    story.tell(Aioxmpp)
