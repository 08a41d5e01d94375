#!/usr/bin/env node
// Two people chat, each with @xmpp/client: the story every ordinary client must be able to tell.
//
//     story_xmppjs.mjs HOST PORT starttls|direct CA.pem ADA@DOMAIN PASSWORD GRACE@DOMAIN PASSWORD
//
// Both accounts must exist and have empty rosters; HOST must be a name of the certificate. Each step is
// one line of TAP with its own deadline; after the first failure the rest is reported as not reached.
// Exit code 0 only if every step was ok. @xmpp/client knows SCRAM-SHA-1 only, and no channel binding.

import { spawnSync } from "node:child_process";
import { client, xml, jid } from "@xmpp/client";

const DEADLINE_MS = 20_000;
// Nothing more is expected: how long to listen before believing it.
const SILENCE_MS = 500;
const ROSTER = "jabber:iq:roster";
const DELAY = "urn:xmpp:delay";

/** A client that notes every stanza it gets, so that steps can wait for what they expect. */
class Person {
  constructor(server, account, password) {
    const { local, domain } = jid(account);
    const scheme = server.transport === "direct" ? "xmpps" : "xmpp";
    this.account = account;
    this.noted = [];
    this.waiting = [];
    this.errors = [];
    this.mechanism = null;
    this.xmpp = client({
      service: `${scheme}://${server.host}:${server.port}`,
      domain,
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
    return this.xmpp.start();
  }

  async logOut() {
    await this.xmpp.send(xml("presence", { type: "unavailable" }));
    await this.xmpp.stop();
  }

  async roster() {
    const query = await this.xmpp.iqCaller.get(xml("query", { xmlns: ROSTER }));
    return query.getChildren("item");
  }
}

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

  async adaAddsGraceToHerRoster() {
    const grace = this.accounts.grace[0];
    const item = xml("item", { jid: grace, name: "Grace" }, xml("group", {}, "Friends"));
    await this.ada.xmpp.iqCaller.set(xml("query", { xmlns: ROSTER }, item));
    const push = await this.ada.until((s) => s.is("iq") && s.attrs.type === "set" && s.getChild("query", ROSTER));
    const pushed = push.getChild("query", ROSTER).getChild("item");
    expect(pushed.attrs.jid === grace && pushed.attrs.name === "Grace", `pushed ${pushed}`);
    expect(pushed.attrs.subscription === "none", `pushed ${pushed}`);
    expect(pushed.getChildText("group") === "Friends", `pushed ${pushed}`);
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

  async graceLogsOutAndAdaSeesIt() {
    const leaving = this.grace.full;
    await this.grace.logOut();
    await this.ada.presence("unavailable", leaving);
  }

  async aMessageWaitsForGrace() {
    const before = Date.now();
    await this.ada.send("message", { type: "chat", to: this.accounts.grace[0] }, xml("body", {}, "Are you there?"));
    // The answer to a ping sent behind it proves that the server has handled the message.
    await this.serverAnswersPing();
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
  "bothLogInAndAreAlone",
  "serverAnswersPing",
  "adaAddsGraceToHerRoster",
  "adaAsksToSeeGrace",
  "adaSeesGrace",
  "graceAsksBack",
  "bothRostersSayBoth",
  "aChangeOfPresenceIsSeen",
  "theyChatBothWays",
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
      await deadline(story[step]());
      console.log(`ok ${title}`);
    } catch (error) {
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
if (args.length !== 8 || !["starttls", "direct"].includes(args[2])) {
  console.error("usage: story_xmppjs.mjs HOST PORT starttls|direct CA.pem ADA@DOMAIN PASSWORD GRACE@DOMAIN PASSWORD");
  process.exit(2);
}
const [host, port, transport, ca, ada, adaPassword, grace, gracePassword] = args;
if (process.env.NODE_EXTRA_CA_CERTS !== ca) {
  // Node reads extra trust anchors only at its start.
  const env = { ...process.env, NODE_EXTRA_CA_CERTS: ca };
  const again = spawnSync(process.execPath, process.argv.slice(1), { env, stdio: "inherit" });
  process.exit(again.status ?? 1);
}
const ok = await tell({ host, port, transport }, [ada, adaPassword], [grace, gracePassword]);
process.exit(ok ? 0 : 1);
