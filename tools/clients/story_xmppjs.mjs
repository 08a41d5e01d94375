#!/usr/bin/env node
// Two people chat, each with @xmpp/client: the story every ordinary client must be able to tell.
//
//     story_xmppjs.mjs HOST PORT starttls|direct TRUSTED.pem EXPIRED_PORT ADA@DOMAIN PASSWORD GRACE@DOMAIN PASSWORD
//
// The steps and the rules are those of story.py; HOST must be a name of the certificate. @xmpp/client knows
// SCRAM-SHA-1 only, and no channel binding; what stands above login is asked for element by element.

import { spawnSync } from "node:child_process";
import { client, xml, jid } from "@xmpp/client";

const DEADLINE_MS = 40_000;
// Nothing more is expected: how long to listen before believing it.
const SILENCE_MS = 500;
const ROSTER = "jabber:iq:roster";
const DELAY = "urn:xmpp:delay";
const VCARD = "vcard-temp";
const PRIVATE = "jabber:iq:private";
const BLOCKING = "urn:xmpp:blocking";
const DISCO = "http://jabber.org/protocol/disco#info";
const NOTE = "urn:hearth:story";

/** A client that notes every stanza it gets, so that steps can wait for what they expect. */
class Person {
  constructor(server, account, password, { resource, port } = {}) {
    const { local, domain } = jid(account);
    const scheme = server.transport === "direct" ? "xmpps" : "xmpp";
    this.account = account;
    this.noted = [];
    this.waiting = [];
    this.errors = [];
    this.mechanism = null;
    this.xmpp = client({
      service: `${scheme}://${server.host}:${port ?? server.port}`,
      domain,
      resource,
      // Its own patience for each answer, two seconds by default, is short for a busy machine.
      timeout: DEADLINE_MS,
      credentials: async (authenticate, mechanisms) => {
        this.mechanism = mechanisms[0];
        await authenticate({ username: local, password }, mechanisms[0]);
      },
    });
    this.xmpp.reconnect.stop();
    this.xmpp.on("error", (error) => this.errors.push(error));
    this.xmpp.on("stanza", (stanza) => {
      this.noted.push(stanza);
      this.waiting.forEach((look) => look());
    });
    // Roster pushes are answered; the push itself is noted above.
    this.xmpp.iqCallee.set(ROSTER, "query", () => true);
  }

  get full() {
    return this.xmpp.jid.toString();
  }

  /** The first stanza noted that `wanted` accepts; it is taken off the notes. */
  until(wanted) {
    return new Promise((resolve) => {
      const look = () => {
        const at = this.noted.findIndex(wanted);
        if (at < 0) return;
        this.waiting = this.waiting.filter((other) => other !== look);
        resolve(this.noted.splice(at, 1)[0]);
      };
      this.waiting.push(look);
      look();
    });
  }

  presence(type, from) {
    return this.until((s) => s.is("presence") && s.attrs.type === type && s.attrs.from === from);
  }

  message() {
    return this.until((s) => s.is("message"));
  }

  send(...args) {
    return this.xmpp.send(xml(...args));
  }

  logIn() {
    // start() waits for the answer to its header only once that is written out: a quick server has answered by then, and
    // where no other header follows, behind XEP-0388, it waits for ever. That it is online it says all the same.
    const online = new Promise((resolve) => this.xmpp.once("online", resolve));
    return Promise.race([this.xmpp.start(), online]);
  }

  async logOut() {
    await this.xmpp.send(xml("presence", { type: "unavailable" }));
    await this.xmpp.stop();
  }

  async get(child, to) {
    const answer = await this.xmpp.iqCaller.request(xml("iq", { type: "get", to }, child));
    return answer.getChild(child.name, child.attrs.xmlns);
  }

  async set(child) {
    await this.xmpp.iqCaller.request(xml("iq", { type: "set" }, child));
  }

  async roster() {
    const query = await this.xmpp.iqCaller.get(xml("query", { xmlns: ROSTER }));
    return query.getChildren("item");
  }
}

/** The server does not announce what a step needs. */
class Lacking extends Error {}

function expect(condition, what) {
  if (!condition) throw new Error(what);
}

class Story {
  constructor(server, ada, grace) {
    this.server = server;
    this.accounts = { ada, grace };
    this.ada = new Person(server, ...ada);
    this.grace = new Person(server, ...grace);
  }

  async refused(account, password) {
    const stranger = new Person(this.server, account, password);
    let refusal = null;
    // A refusal ends start() on some paths and is an "error" event on others: either will do.
    await Promise.race([
      stranger.logIn().catch((error) => (refusal = error)),
      new Promise((resolve) => stranger.xmpp.on("error", (error) => resolve((refusal = error)))),
    ]);
    expect(refusal?.name === "SASLError", `no SASL failure but ${refusal}`);
    expect(refusal.condition === "not-authorized", `refused with ${refusal.condition}`);
    await stranger.xmpp.stop().catch(() => {});
  }

  async expiredCertificateIsRefused() {
    const stranger = new Person(this.server, ...this.accounts.ada, { port: this.server.expired });
    const refusal = await Promise.race([
      stranger.logIn().then(() => null, (error) => error),
      new Promise((resolve) => stranger.xmpp.on("error", resolve)),
    ]);
    expect(refusal?.code === "CERT_HAS_EXPIRED", `no refusal but ${refusal}`);
    await stranger.xmpp.stop().catch(() => {});
    return `it says: ${refusal.message}`;
  }

  wrongPasswordIsRefused() {
    return this.refused(this.accounts.ada[0], `${this.accounts.ada[1]}x`);
  }

  unknownAccountIsRefused() {
    return this.refused(`nobody-${this.accounts.ada[0]}`, "secret");
  }

  async bothLogInAndAreAlone() {
    for (const person of [this.ada, this.grace]) {
      await person.logIn();
      expect(person.xmpp.isSecure(), "no TLS");
      expect(person.mechanism === "SCRAM-SHA-1", `authenticated by ${person.mechanism}`);
      expect((await person.roster()).length === 0, "the roster is not empty");
      await person.send("presence");
      // One's own presence comes back (RFC 6121 §4.2.2).
      await person.presence(undefined, person.full);
    }
  }

  async serverAnswersPing() {
    const domain = this.ada.xmpp.jid.domain;
    await this.ada.xmpp.iqCaller.request(
      xml("iq", { type: "get", to: domain }, xml("ping", { xmlns: "urn:xmpp:ping" })),
    );
  }

  async serverSaysWhatItCanDo() {
    const info = await this.ada.get(xml("query", { xmlns: DISCO }), this.ada.xmpp.jid.domain);
    const identity = info.getChild("identity")?.attrs;
    expect(identity?.category === "server" && identity.type === "im", `identity ${JSON.stringify(identity)}`);
    const features = info.getChildren("feature").map((feature) => feature.attrs.var);
    expect([DISCO, "urn:xmpp:ping", VCARD].every((wanted) => features.includes(wanted)), `features ${features}`);
  }

  adaAddsGraceToHerRoster() {
    return this.kept("Grace", ["Friends"]);
  }

  adaPutsGraceIntoTwoGroups() {
    return this.kept("Grace & Co", ["Friends", "Work <9 to 5>"]);
  }

  async kept(name, groups) {
    const grace = this.accounts.grace[0];
    const item = xml("item", { jid: grace, name }, ...groups.map((group) => xml("group", {}, group)));
    await this.ada.xmpp.iqCaller.set(xml("query", { xmlns: ROSTER }, item));
    const push = await this.ada.until((s) => s.is("iq") && s.attrs.type === "set" && s.getChild("query", ROSTER));
    const pushed = push.getChild("query", ROSTER).getChild("item");
    expect(pushed.attrs.jid === grace && pushed.attrs.name === name, `pushed ${pushed}`);
    expect(pushed.attrs.subscription === "none", `pushed ${pushed}`);
    const held = pushed.getChildren("group").map((group) => group.text());
    expect(held.sort().join() === groups.join(), `pushed ${pushed}`);
  }

  async adaAsksToSeeGrace() {
    const { ada, grace } = { ada: this.accounts.ada[0], grace: this.accounts.grace[0] };
    await this.ada.send("presence", { type: "subscribe", to: grace });
    await this.grace.presence("subscribe", ada);
    await this.grace.send("presence", { type: "subscribed", to: ada });
    await this.ada.presence("subscribed", grace);
  }

  async adaSeesGrace() {
    await this.ada.presence(undefined, this.grace.full);
  }

  async graceAsksBack() {
    const { ada, grace } = { ada: this.accounts.ada[0], grace: this.accounts.grace[0] };
    await this.grace.send("presence", { type: "subscribe", to: ada });
    await this.ada.presence("subscribe", grace);
    await this.ada.send("presence", { type: "subscribed", to: grace });
    await this.grace.presence(undefined, this.ada.full);
  }

  async bothRostersSayBoth() {
    for (const person of [this.ada, this.grace]) {
      const items = await person.roster();
      expect(items.length === 1 && items[0].attrs.subscription === "both", `${person.account} has ${items}`);
    }
  }

  async aChangeOfPresenceIsSeen() {
    await this.grace.send("presence", {}, xml("show", {}, "away"), xml("status", {}, "lunch & <tea>"));
    const seen = await this.ada.until(
      (s) => s.is("presence") && s.attrs.from === this.grace.full && s.getChildText("show") === "away",
    );
    expect(seen.getChildText("status") === "lunch & <tea>", `saw ${seen}`);
  }

  async theyChatBothWays() {
    const text = "Guten Abend, Grace \u{1F44B} & <b>hello</b>";
    await this.ada.send("message", { type: "chat", to: this.accounts.grace[0] }, xml("body", {}, text));
    const got = await this.grace.message();
    expect(got.getChildText("body") === text && got.attrs.from === this.ada.full, `got ${got}`);
    expect(!got.getChild("delay", DELAY), "a live message carries a delay");
    await this.grace.send("message", { type: "chat", to: got.attrs.from }, xml("body", {}, "Good evening, Ada"));
    const answer = await this.ada.message();
    expect(answer.getChildText("body") === "Good evening, Ada", `got ${answer}`);
    expect(answer.attrs.from === this.grace.full, `got ${answer}`);
  }

  async graceReadsTheVcardOfAda() {
    const name = "Ada <Lovelace> & Daughters";
    await this.ada.set(xml("vCard", { xmlns: VCARD }, xml("FN", {}, name)));
    const read = await this.grace.get(xml("vCard", { xmlns: VCARD }), this.accounts.ada[0]);
    expect(read.getChildText("FN") === name, `read ${read}`);
  }

  async announced(feature) {
    const info = await this.ada.get(xml("query", { xmlns: DISCO }), this.ada.xmpp.jid.domain);
    if (!info.getChildren("feature").some((has) => has.attrs.var === feature)) throw new Lacking(feature);
  }

  async adaStoresANoteForHerself() {
    await this.announced(PRIVATE);
    const text = "meet <Grace> & Charles";
    await this.ada.set(xml("query", { xmlns: PRIVATE }, xml("note", { xmlns: NOTE }, text)));
    const read = await this.ada.get(xml("query", { xmlns: PRIVATE }, xml("note", { xmlns: NOTE })));
    expect(read.getChildText("note", NOTE) === text, `stored ${read}`);
  }

  async adaHasAPhoneToo() {
    const phone = new Person(this.server, ...this.accounts.ada, { resource: "phone" });
    await phone.logIn();
    await phone.send("presence", {}, xml("priority", {}, "5"));
    const atFive = (s) => s.is("presence") && s.attrs.from === phone.full && s.getChildText("priority") === "5";
    await Promise.all([this.ada.until(atFive), this.grace.until(atFive)]);
    await Promise.all([phone.presence(undefined, this.ada.full), phone.presence(undefined, this.grace.full)]);
    await this.grace.send("message", { type: "chat", to: this.accounts.ada[0] }, xml("body", {}, "for both"));
    await this.grace.send("message", { type: "chat", to: phone.full }, xml("body", {}, "for the phone"));
    for (const [person, text] of [[phone, "for both"], [phone, "for the phone"], [this.ada, "for both"]]) {
      const got = await person.message();
      expect(got.getChildText("body") === text, `got ${got}`);
    }
    await this.serverAnswersPing();
    await new Promise((resolve) => setTimeout(resolve, SILENCE_MS));
    expect(!this.ada.noted.some((s) => s.is("message")), "the desk got what was for the phone");
    const leaving = phone.full;
    await phone.logOut();
    await Promise.all([this.ada, this.grace].map((person) => person.presence("unavailable", leaving)));
  }

  async oneResourceTwiceIsAConflict() {
    const [first, second] = [1, 2].map(() => new Person(this.server, ...this.accounts.ada, { resource: "twin" }));
    await first.logIn();
    const closed = new Promise((resolve) => first.xmpp.on("error", resolve));
    await second.logIn();
    expect(first.full === second.full, `${first.full} and ${second.full}`);
    const reason = await closed;
    expect(reason.condition === "conflict", `the first was closed with ${reason}`);
    await second.logOut();
  }

  async adaBlocksGrace() {
    await this.announced(BLOCKING);
    const [ada, grace] = [this.accounts.ada[0], this.accounts.grace[0]];
    const item = xml("item", { jid: grace });
    const list = () => this.ada.get(xml("blocklist", { xmlns: BLOCKING }));
    await this.ada.set(xml("block", { xmlns: BLOCKING }, item));
    await this.grace.presence("unavailable", this.ada.full);
    expect((await list()).getChild("item")?.attrs.jid === grace, "the list does not hold her");
    await this.grace.send("message", { type: "chat", to: ada }, xml("body", {}, "are you cross?"));
    const back = await this.grace.message();
    expect(back.attrs.type === "error" && back.getChild("error").getChild("service-unavailable"), `got ${back}`);
    await this.ada.set(xml("unblock", { xmlns: BLOCKING }, item));
    await this.grace.presence(undefined, this.ada.full);
    await this.ada.presence(undefined, this.grace.full);
    expect((await list()).getChildren("item").length === 0, "the list still holds somebody");
    expect(!this.ada.noted.some((s) => s.is("message")), "a blocked message came");
  }

  async graceLogsOutAndAdaSeesIt() {
    const leaving = this.grace.full;
    await this.grace.logOut();
    await this.ada.presence("unavailable", leaving);
  }

  async aMessageWaitsForGrace() {
    const before = Date.now();
    await this.ada.send("message", { type: "chat", to: this.accounts.grace[0] }, xml("body", {}, "Are you there?"));
    // Messages are stored in order: when one to herself arrives, that before it waits for Grace.
    await this.ada.send("message", { type: "chat", to: this.accounts.ada[0] }, xml("body", {}, "note to self"));
    await this.ada.message();
    await this.graceReturns();
    const late = await this.grace.message();
    expect(late.getChildText("body") === "Are you there?", `got ${late}`);
    const stamp = late.getChild("delay", DELAY)?.attrs.stamp;
    expect(stamp, "no delay stamp");
    expect(Math.abs(Date.parse(stamp) - before) < 60_000, `stamped ${stamp}`);
  }

  async graceReturns() {
    this.grace = new Person(this.server, ...this.accounts.grace);
    await this.grace.logIn();
    await this.grace.roster();
    await this.grace.send("presence");
  }

  async itWaitsOnlyOnce() {
    await this.grace.logOut();
    await this.graceReturns();
    await this.grace.presence(undefined, this.ada.full);
    await new Promise((resolve) => setTimeout(resolve, SILENCE_MS));
    expect(!this.grace.noted.some((s) => s.is("message")), "it came twice");
  }

  async bothLogOut() {
    await this.grace.logOut();
    await this.ada.logOut();
  }
}

const STEPS = [
  "wrongPasswordIsRefused",
  "unknownAccountIsRefused",
  "expiredCertificateIsRefused",
  "bothLogInAndAreAlone",
  "serverAnswersPing",
  "serverSaysWhatItCanDo",
  "adaAddsGraceToHerRoster",
  "adaPutsGraceIntoTwoGroups",
  "adaAsksToSeeGrace",
  "adaSeesGrace",
  "graceAsksBack",
  "bothRostersSayBoth",
  "aChangeOfPresenceIsSeen",
  "theyChatBothWays",
  "graceReadsTheVcardOfAda",
  "adaStoresANoteForHerself",
  "adaHasAPhoneToo",
  "oneResourceTwiceIsAConflict",
  "adaBlocksGrace",
  "graceLogsOutAndAdaSeesIt",
  "aMessageWaitsForGrace",
  "itWaitsOnlyOnce",
  "bothLogOut",
];

function deadline(promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error("deadline")), DEADLINE_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

async function tell(server, ada, grace) {
  const story = new Story(server, ada, grace);
  console.log(`1..${STEPS.length}`);
  let failed = false;
  for (const [index, step] of STEPS.entries()) {
    const words = step.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
    const title = `${index + 1} - @xmpp/client ${server.transport}: ${words}`;
    if (failed) {
      console.log(`not ok ${title} (not reached)`);
      continue;
    }
    try {
      const remark = await deadline(story[step]());
      console.log(`ok ${title}${remark ? ` # ${remark}` : ""}`);
    } catch (error) {
      if (error instanceof Lacking) {
        console.log(`# @xmpp/client ${server.transport}: left out, the server does not announce ${error.message}`);
        continue;
      }
      failed = true;
      console.log(`not ok ${title}\n  # ${error}`);
      for (const person of [story.ada, story.grace]) {
        person.errors.forEach((e) => console.log(`  # ${person.account} had an error: ${e}`));
        person.noted.slice(-5).forEach((s) => console.log(`  # ${person.account} noted ${s}`));
      }
    }
  }
  return !failed;
}

// A refusal that comes after its step has given up is the step's failure, reported there.
process.on("unhandledRejection", (error) => console.log(`  # late: ${error}`));

const args = process.argv.slice(2);
if (args.length !== 9 || !["starttls", "direct"].includes(args[2])) {
  console.error("usage: story_xmppjs.mjs HOST PORT starttls|direct TRUSTED.pem EXPIRED_PORT ADA@DOMAIN PASSWORD GRACE@DOMAIN PASSWORD");
  process.exit(2);
}
const [host, port, transport, ca, expired, ada, adaPassword, grace, gracePassword] = args;
if (process.env.NODE_EXTRA_CA_CERTS !== ca) {
  // Node reads extra trust anchors only at its start.
  const env = { ...process.env, NODE_EXTRA_CA_CERTS: ca };
  const again = spawnSync(process.execPath, process.argv.slice(1), { env, stdio: "inherit" });
  process.exit(again.status ?? 1);
}
const ok = await tell({ host, port, transport, expired }, [ada, adaPassword], [grace, gracePassword]);
process.exit(ok ? 0 : 1);
