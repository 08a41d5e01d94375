#!/usr/bin/env python3
"""The story of story.py, told by nbxmpp, the library of Gajim (GLib for sockets and TLS).

Its main loop is GLib's and runs in a thread of its own; what crosses goes through `ask` and `note`.
Needs GObject introspection with GLib and libsoup 3.
"""

import asyncio
import datetime
import threading

import story
from gi.repository import Gio, GLib
from nbxmpp.client import Client
from nbxmpp.const import ConnectionProtocol, ConnectionType, StreamError
from nbxmpp.errors import is_error
from nbxmpp.modules.vcard_temp import VCard
from nbxmpp.protocol import JID, Message
from nbxmpp.structs import AnnotationNote, StanzaHandler


class Nbxmpp(story.Person):
    client = "nbxmpp"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.loop = asyncio.get_running_loop()
        self.held = {}
        self.stream = None

    @classmethod
    def begin(cls):
        threading.Thread(target=GLib.MainLoop().run, daemon=True).start()

    def make(self):
        """Made and used in GLib's thread."""
        self.stream = client = Client(log_context=self.account)
        client.set_username(self.account.partition("@")[0])
        client.set_domain(self.domain)
        client.set_resource(self.resource)
        client.set_password(self.password)
        client.set_accepted_certificates(Gio.TlsCertificate.list_new_from_file(self.trusted)[:1])
        kind = ConnectionType.DIRECT_TLS if self.direct else ConnectionType.START_TLS
        client.set_custom_host(f"{self.host}:{self.port}", ConnectionProtocol.TCP, kind)
        client.subscribe("login-successful", lambda *_: self.tell("login", None))
        client.subscribe("resume-successful", lambda *_: self.tell("resumed", None))
        client.subscribe("connected", lambda *_: self.tell("login", None))
        client.subscribe("connection-failed", lambda *_: self.on_end())
        client.subscribe("disconnected", lambda *_: self.on_end())
        client.register_handler(StanzaHandler("message", self.on_message))
        client.register_handler(StanzaHandler("presence", self.on_presence))
        client.register_handler(StanzaHandler("iq", self.on_push, typ="set", ns="jabber:iq:roster"))
        client.connect()

    def tell(self, kind, data):
        self.loop.call_soon_threadsafe(self.note, kind, data)

    def on_end(self):
        domain, error, text = self.stream.get_error()
        self.tell("lost", f"{error}")
        self.tell("login", (domain, f"{error}", text, self.stream._peer_certificate_errors))
        self.tell("closed", f"{error}")  # who logs out waits for this, and then for nothing

    def on_message(self, _client, stanza, properties):
        sent = None
        if properties.has_server_delay:
            sent = datetime.datetime.fromtimestamp(properties.timestamp, datetime.timezone.utc)
        error = properties.error.condition if getattr(properties, "error", None) else None
        self.tell("message", story.Message(str(properties.from_), properties.body or "", sent, error))

    def on_presence(self, _client, stanza, properties):
        kind = stanza.getType() or "available"
        priority = int(stanza.getTagData("priority") or 0)
        show, status = stanza.getShow() or "", properties.status or ""
        self.tell("presence", story.Presence(str(stanza.getFrom()), kind, show, status, priority))

    def on_push(self, _client, _stanza, properties):
        if properties.roster is not None:
            item = self.item(properties.roster.item)
            self.held[item.jid] = item
            self.tell("roster", item)

    @staticmethod
    def item(item):
        return story.Item(str(item.jid), item.name, item.subscription, set(item.groups))

    async def call(self, function, *args):
        """Runs a function in GLib's thread."""
        done = self.loop.create_future()

        def run():
            try:
                result = function(*args)
            except Exception as error:
                self.loop.call_soon_threadsafe(done.set_exception, error)
            else:
                self.loop.call_soon_threadsafe(done.set_result, result)
            return GLib.SOURCE_REMOVE

        GLib.idle_add(run)
        return await done

    async def ask(self, module, question, *args):
        """Asks the server by a method of a module, and waits for the answer."""
        done = self.loop.create_future()

        def answered(task):
            try:
                result = task.finish()
            except Exception as error:
                self.loop.call_soon_threadsafe(done.set_exception, error)
                return
            if is_error(result):
                self.loop.call_soon_threadsafe(done.set_exception, RuntimeError(str(result)))
            else:
                self.loop.call_soon_threadsafe(done.set_result, result)

        await self.call(lambda: getattr(self.stream.get_module(module), question)(*args, callback=answered))
        return await done

    @property
    def full(self):
        return str(self.stream.get_bound_jid())

    @property
    def mechanism(self):
        return self.stream._sasl._mechanism.name

    async def log_in(self):
        await self.call(self.make)
        failure = await self.until("login")
        if failure is None:
            return
        domain, error, text, certificate = failure
        if domain == StreamError.SASL:
            raise story.Refused(error)
        if domain == StreamError.BAD_CERTIFICATE:
            raise story.Untrusted(f"{error}: {' '.join(flag.first_value_name for flag in certificate)}")
        raise RuntimeError(f"{domain}: {error} {text}")

    async def log_out(self):
        await self.call(self.stream.disconnect)
        await self.until("closed")

    def manage(self):
        """It always does."""

    def may_resume(self):
        return self.stream.resumeable

    async def come_back(self):
        await self.call(self.stream.connect)

    def available(self, show="", status="", priority=0):
        words = {"priority": priority, "show": show or None, "status": status or None}
        self.send(lambda: self.stream.get_module("BasePresence").send(**words))

    def send(self, function):
        GLib.idle_add(lambda: (function(), GLib.SOURCE_REMOVE)[1])

    def subscription(self, to, kind):
        self.send(lambda: getattr(self.stream.get_module("BasePresence"), kind)(JID.from_string(to)))

    def say(self, to, body):
        self.send(lambda: self.stream.send_stanza(Message(to=JID.from_string(to), body=body, typ="chat")))

    async def roster(self):
        found = (await self.ask("Roster", "request_roster")).items
        if found is not None:
            self.held = {str(item.jid): self.item(item) for item in found}
        return list(self.held.values())

    async def keep(self, jid, name, groups):
        await self.ask("Roster", "set_item", JID.from_string(jid), name, groups)

    async def ping(self):
        await self.ask("Ping", "ping", JID.from_string(self.domain))

    async def features(self, jid):
        info = await self.ask("Discovery", "disco_info", JID.from_string(jid))
        return {f"{identity.category}/{identity.type}" for identity in info.identities} | set(info.features)

    async def set_vcard(self, name):
        await self.ask("VCardTemp", "set_vcard", VCard({"FN": name}))

    async def vcard(self, jid):
        return (await self.ask("VCardTemp", "request_vcard", JID.from_string(jid))).data["FN"]

    async def store(self, text):
        # Private storage as Gajim uses it: notes about contacts (XEP-0145).
        note = AnnotationNote(jid=JID.from_string(self.account), data=text)
        await self.ask("Annotations", "set_annotations", [note])

    async def stored(self):
        return (await self.ask("Annotations", "request_annotations"))[0].data

    async def block(self, jid):
        await self.ask("Blocking", "block", [JID.from_string(jid)])

    async def unblock(self, jid):
        await self.ask("Blocking", "unblock", [JID.from_string(jid)])

    async def blocked(self):
        return {str(jid) for jid in await self.ask("Blocking", "request_blocking_list")}


if __name__ == "__main__":
    story.tell(Nbxmpp)
