#!/usr/bin/env python3
"""The story of story.py, told by slixmpp.

SCRAM-*-PLUS is tried where this Python can export TLS channel binding data (RFC 9266); Python's `ssl`
knows only `tls-unique` so far, which does not exist in TLS 1.3, so that step is one it cannot do there.
"""

import logging
import ssl
from pathlib import Path

import story
from slixmpp import JID, ClientXMPP
from slixmpp.exceptions import IqError
from slixmpp.xmlstream import ET
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

NOTE = "{urn:hearth:story}note"


class Stream(ClientXMPP):
    """Notes everything that it is told for a `Slixmpp`."""

    def __init__(self, person, mechanism):
        settings = {"feature_mechanisms": {"use_mech": mechanism}} if mechanism else {}
        jid = JID(person.account)
        if person.resource:
            jid.resource = person.resource
        super().__init__(jid, person.password, plugin_config=settings)
        self.person = person
        self.enable_direct_tls, self.enable_starttls = person.direct, not person.direct
        self.ca_certs = Path(person.trusted)
        # Subscriptions are ours to answer: the steps do it by hand.
        self.auto_authorize, self.auto_subscribe = None, False
        for plugin in ("xep_0030", "xep_0049", "xep_0054", "xep_0191", "xep_0199", "xep_0203"):
            self.register_plugin(plugin)
        events = ("session_start", "failed_auth", "failed_all_auth", "disconnected", "stream_error", "ssl_invalid_chain")
        for event in events + ("connection_failed", "session_resumed"):
            self.add_event_handler(event, lambda data, event=event: person.on_event(event, data))
        self.add_event_handler("roster_update", self.on_roster)
        for kind in ("message", "presence"):
            match = MatchXPath("{jabber:client}%s" % kind)
            self.register_handler(Callback(f"note {kind}", match, getattr(self, f"on_{kind}")))

    def on_roster(self, iq):
        if iq["type"] == "set":
            for item in items(iq):
                self.person.note("roster", item)

    def on_message(self, m):
        error = m["error"]["condition"] if m["type"] == "error" else None
        self.person.note("message", story.Message(m["from"].full, m["body"], m["delay"]["stamp"] or None, error))

    def on_presence(self, p):
        shows = ("away", "chat", "dnd", "xa")
        show = p["type"] if p["type"] in shows else ""
        kind = "available" if show else p["type"]
        # RFC 6121 §3.1: a subscription stanza comes from the bare JID.
        self.person.note("presence", story.Presence(p["from"].full, kind, show, p["status"], p["priority"]))


def items(iq):
    entries = iq["roster"]["items"].items()
    return [story.Item(str(j), i["name"] or None, i["subscription"], set(i["groups"])) for j, i in entries]


class Slixmpp(story.Person):
    client = "slixmpp"

    def __init__(self, *args, mechanism=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.stream = Stream(self, mechanism)
        self.failure = None

    def on_event(self, event, data):
        if event == "failed_auth":
            self.failure = data["condition"]
        elif event in ("failed_all_auth", "ssl_invalid_chain", "session_start"):
            self.note("login", (event, data))
        elif event == "connection_failed" and isinstance(data, ssl.SSLError):
            self.note("login", (event, data))
        elif event == "stream_error":
            self.note("closed", data["condition"])
        elif event == "session_resumed":
            self.note("resumed", data)
        elif event == "disconnected":
            self.note("disconnected", data)
            self.note("lost", data)

    @property
    def full(self):
        return self.stream.boundjid.full

    @property
    def mechanism(self):
        return self.stream.plugin["feature_mechanisms"].mech.name

    async def log_in(self):
        self.stream.connect(self.host, self.port)
        event, data = await self.until("login")
        if event == "session_start":
            return
        self.stream.abort()
        raise story.Refused(self.failure) if event == "failed_all_auth" else story.Untrusted(data)

    async def log_out(self):
        self.stream.disconnect()
        await self.until("disconnected")

    def manage(self):
        self.stream.register_plugin("xep_0198")

    def may_resume(self):
        return self.stream.plugin["xep_0198"].sm_id is not None

    async def come_back(self):
        self.stream.connect(self.host, self.port)

    def available(self, show="", status="", priority=0):
        self.stream.send_presence(pshow=show or None, pstatus=status or None, ppriority=priority)

    def subscription(self, to, kind):
        self.stream.send_presence_subscription(pto=to, ptype=kind)

    def say(self, to, body):
        self.stream.send_message(mto=to, mbody=body, mtype="chat")

    async def roster(self):
        # The answer is empty if the version is still ours (RFC 6121 §2.6.3); what counts is what the client then holds.
        await self.stream.get_roster()
        held = self.stream.client_roster
        found = []
        for jid in held.keys():
            item = held[jid]
            if jid == self.account:
                continue
            found.append(story.Item(jid, item["name"] or None, item["subscription"], set(item["groups"])))
        return found

    async def keep(self, jid, name, groups):
        await self.stream.update_roster(jid, name=name, groups=list(groups))

    async def ping(self):
        await self.stream.plugin["xep_0199"].send_ping(self.domain)

    async def features(self, jid):
        info = (await self.stream.plugin["xep_0030"].get_info(jid=jid, cached=False))["disco_info"]
        return {f"{identity[0]}/{identity[1]}" for identity in info["identities"]} | set(info["features"])

    async def set_vcard(self, name):
        vcard = self.stream.plugin["xep_0054"].make_vcard()
        vcard["FN"] = name
        await self.stream.plugin["xep_0054"].publish_vcard(vcard)

    async def vcard(self, jid):
        return (await self.stream.plugin["xep_0054"].get_vcard(jid))["vcard_temp"]["FN"]

    async def private(self, kind, text=None):
        iq = self.stream.make_iq(ito=None, itype=kind)
        query = ET.Element("{jabber:iq:private}query")
        ET.SubElement(query, NOTE).text = text
        iq.append(query)
        return (await iq.send()).xml.find("{jabber:iq:private}query/" + NOTE)

    async def store(self, text):
        await self.private("set", text)

    async def stored(self):
        return (await self.private("get")).text

    async def block(self, jid):
        await self.stream.plugin["xep_0191"].block(jid)

    async def unblock(self, jid):
        await self.stream.plugin["xep_0191"].unblock(jid)

    async def blocked(self):
        answer = await self.stream.plugin["xep_0191"].get_blocked()
        return {item.get("jid") for item in answer.xml.iter("{%s}item" % story.BLOCKING)}


async def log_in_with(told, mechanism):
    person = Slixmpp(told.server, *told.ada_account, mechanism=mechanism)
    await person.log_in()
    story.expect(person.mechanism == mechanism, f"it was {person.mechanism}")
    await person.log_out()


async def scram_sha_1(told):
    await log_in_with(told, "SCRAM-SHA-1")


async def scram_sha_256(told):
    await log_in_with(told, "SCRAM-SHA-256")


async def scram_sha_256_plus(told):
    if "tls-exporter" not in ssl.CHANNEL_BINDING_TYPES:
        raise story.Cannot("bind the TLS channel: this Python's ssl module does not offer tls-exporter")
    await log_in_with(told, "SCRAM-SHA-256-PLUS")


async def a_question_nobody_understands_is_refused(told):
    person = Slixmpp(told.server, *told.ada_account)
    await person.log_in()
    iq = person.stream.make_iq_get(queryxmlns="urn:hearth:nothing", ito=person.domain)
    try:
        await iq.send()
    except IqError as error:
        story.expect(error.condition == "service-unavailable", f"refused with {error.condition}")
        await person.log_out()
        return
    raise AssertionError("it was answered")


if __name__ == "__main__":
    logging.basicConfig(level=logging.CRITICAL)
    story.tell(
        Slixmpp, [scram_sha_1, scram_sha_256, scram_sha_256_plus, a_question_nobody_understands_is_refused]
    )
