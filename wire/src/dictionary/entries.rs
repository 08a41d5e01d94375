//! The entries of the dictionary, in the order of their numbers. **Append at the end only.**

/// All entries; the index is the number. Entry 0 stands for [`INHERIT`](super::INHERIT) and is never a text.
#[rustfmt::skip]
pub(super) static ENTRIES: &[&str] = &[
    "\0",
    // The most frequent on the links: one byte each. No more than 126.
    "", "jabber:client", "http://www.w3.org/XML/1998/namespace", "urn:ietf:params:xml:ns:xmpp-stanzas",
    "urn:xmpp:sid:0", "urn:xmpp:receipts", "http://jabber.org/protocol/chatstates", "urn:xmpp:chat-markers:0",
    "urn:xmpp:hints", "eu.siacs.conversations.axolotl", "urn:xmpp:omemo:2", "urn:xmpp:eme:0", "urn:xmpp:delay",
    "urn:xmpp:carbons:2", "urn:xmpp:forward:0", "http://jabber.org/protocol/caps", "vcard-temp:x:update",
    "http://jabber.org/protocol/muc", "http://jabber.org/protocol/muc#user", "urn:xmpp:occupant-id:0",
    "urn:xmpp:mam:2", "http://jabber.org/protocol/rsm", "http://jabber.org/protocol/disco#info",
    "http://jabber.org/protocol/disco#items", "http://jabber.org/protocol/pubsub",
    "http://jabber.org/protocol/pubsub#event", "jabber:x:data", "jabber:iq:roster", "urn:xmpp:ping",
    "urn:xmpp:reactions:0", "urn:xmpp:reply:0", "urn:xmpp:fallback:0", "urn:xmpp:message-correct:0", "jabber:x:oob",
    "urn:xmpp:idle:1", "urn:xmpp:mds:displayed:0", "id", "type", "to", "from", "lang", "body", "subject", "thread",
    "message", "presence", "iq", "error", "text", "show", "status", "priority", "query", "item", "jid", "name",
    "node", "var", "x", "c", "hash", "ver", "photo", "nick", "received", "request", "displayed", "markable", "active",
    "composing", "paused", "inactive", "origin-id", "stanza-id", "by", "encrypted", "header", "payload", "key",
    "keys", "iv", "rid", "sid", "prekey", "kex", "encryption", "namespace", "store", "no-store", "no-copy", "delay",
    "stamp", "sent", "forwarded", "result", "queryid", "set", "first", "last", "count", "before", "after", "fin",
    "feature", "field", "value", "items", "pubsub", "event", "publish", "retract", "affiliation", "role", "code",
    "occupant-id", "subscription", "reactions", "reaction", "reply", "fallback", "for", "replace", "url", "idle",
    "since", "ping",
    // Next to those.
    "complete", "gone", "group", "ask", "category", "identity", "max", "index",
    // RFC 6120: streams, negotiation, SASL, binding.
    "http://etherx.jabber.org/streams", "jabber:server", "urn:ietf:params:xml:ns:xmpp-streams",
    "urn:ietf:params:xml:ns:xmpp-tls", "urn:ietf:params:xml:ns:xmpp-sasl", "urn:ietf:params:xml:ns:xmpp-bind",
    "urn:ietf:params:xml:ns:xmpp-session", "http://www.w3.org/2000/xmlns/", "xml", "xmlns", "stream", "features",
    "version", "starttls", "proceed", "failure", "mechanisms", "mechanism", "auth", "challenge", "response",
    "success", "abort", "bind", "resource", "session", "required", "optional",
    // Stream error conditions (RFC 6120 §4.9.3).
    "bad-format", "bad-namespace-prefix", "conflict", "connection-timeout", "host-gone", "host-unknown",
    "improper-addressing", "internal-server-error", "invalid-from", "invalid-namespace", "invalid-xml",
    "not-authorized", "not-well-formed", "policy-violation", "remote-connection-failed", "reset",
    "resource-constraint", "restricted-xml", "see-other-host", "system-shutdown", "undefined-condition",
    "unsupported-encoding", "unsupported-feature", "unsupported-stanza-type", "unsupported-version",
    // Stanza error conditions and types (RFC 6120 §8.3).
    "bad-request", "feature-not-implemented", "forbidden", "item-not-found", "jid-malformed", "not-acceptable",
    "not-allowed", "recipient-unavailable", "redirect", "registration-required", "remote-server-not-found",
    "remote-server-timeout", "service-unavailable", "subscription-required", "unexpected-request", "cancel",
    "continue", "modify", "wait",
    // SASL failure conditions (RFC 6120 §6.5).
    "aborted", "account-disabled", "credentials-expired", "encryption-required", "incorrect-encoding",
    "invalid-authzid", "invalid-mechanism", "malformed-request", "mechanism-too-weak", "temporary-auth-failure",
    // RFC 6121: rosters and presence.
    "parent", "approved", "urn:xmpp:features:rosterver", "urn:xmpp:features:pre-approval", "sub", "none", "both",
    "remove", "subscribe", "subscribed", "unsubscribe", "unsubscribed", "unavailable", "probe", "chat", "groupchat",
    "headline", "normal", "away", "dnd", "xa",
    // XEP-0004, 0122, 0141, 0221: data forms.
    "form", "submit", "title", "instructions", "reported", "option", "desc", "label",
    "http://jabber.org/protocol/xdata-validate", "validate", "datatype", "basic", "open", "range", "regex",
    "list-range", "min", "http://jabber.org/protocol/xdata-layout", "page", "section", "fieldref", "reportedref",
    "urn:xmpp:media-element", "media", "uri",
    // XEP-0030, 0050: discovery and commands.
    "http://jabber.org/protocol/commands", "command", "sessionid", "action", "actions", "execute", "next", "prev",
    "note",
    // XEP-0045, 0249, 0317, 0410: rooms.
    "http://jabber.org/protocol/muc#admin", "http://jabber.org/protocol/muc#owner",
    "http://jabber.org/protocol/muc#register", "http://jabber.org/protocol/muc#unique", "jabber:x:conference",
    "urn:xmpp:hats:0", "xmpp:prosody.im/protocol/hats:1", "actor", "reason", "password", "history", "maxchars",
    "maxstanzas", "seconds", "destroy", "decline", "invite", "unique", "hats", "hat", "voice",
    // XEP-0048, 0049, 0402: private storage and bookmarks.
    "jabber:iq:private", "storage:bookmarks", "storage:rosternotes", "storage", "urn:xmpp:bookmarks:1",
    "urn:xmpp:bookmarks:0", "conference", "autojoin", "extensions", "notes", "roster:delimiter",
    "urn:xmpp:bookmarks-pinning:0", "pinned", "mute",
    // XEP-0054, 0153, 0292: vCards.
    "vcard-temp", "vCard", "FN", "N", "FAMILY", "GIVEN", "MIDDLE", "PREFIX", "SUFFIX", "NICKNAME", "PHOTO", "TYPE",
    "BINVAL", "EXTVAL", "BDAY", "ADR", "HOME", "WORK", "POSTAL", "PARCEL", "DOM", "INTL", "PREF", "POBOX", "EXTADD",
    "EXTADR", "STREET", "LOCALITY", "REGION", "PCODE", "CTRY", "LABEL", "LINE", "TEL", "VOICE", "FAX", "PAGER", "MSG",
    "CELL", "VIDEO", "BBS", "MODEM", "ISDN", "PCS", "NUMBER", "EMAIL", "INTERNET", "X400", "USERID", "JABBERID",
    "MAILER", "TZ", "GEO", "LAT", "LON", "TITLE", "ROLE", "LOGO", "AGENT", "ORG", "ORGNAME", "ORGUNIT", "CATEGORIES",
    "KEYWORD", "NOTE", "PRODID", "REV", "SORT-STRING", "SOUND", "PHONETIC", "UID", "URL", "CLASS", "PUBLIC",
    "PRIVATE", "CONFIDENTIAL", "KEY", "CRED", "DESC", "urn:ietf:params:xml:ns:vcard-4.0", "vcard", "fn", "n",
    "surname", "given", "additional", "prefix", "suffix", "nickname", "bday", "adr", "street", "locality", "region",
    "country", "tel", "email", "impp", "org", "logo", "prodid", "rev", "tz", "geo", "parameters", "pref", "uid",
    "pobox", "ext",
    // XEP-0055: search.
    "jabber:iq:search",
    // XEP-0060, 0163, 0223: publish-subscribe.
    "http://jabber.org/protocol/pubsub#owner", "http://jabber.org/protocol/pubsub#errors",
    "http://jabber.org/protocol/shim", "headers", "subscriptions", "affiliations", "subscribe-options", "create",
    "configure", "configuration", "default", "delete", "purge", "publish-options", "options", "collection",
    "associate", "disassociate", "subid", "publisher", "notify", "max_items", "expiry", "closed-node",
    "configuration-required", "invalid-jid", "invalid-options", "invalid-payload", "invalid-subid", "item-forbidden",
    "item-required", "jid-required", "max-items-exceeded", "max-nodes-exceeded", "nodeid-required",
    "not-in-roster-group", "not-subscribed", "payload-too-big", "payload-required", "pending-subscription",
    "precondition-not-met", "presence-subscription-required", "subid-required", "too-many-subscriptions",
    "unsupported", "unsupported-access-model",
    // XEP-0066, 0077, 0445, 0401: files by address, registration, invitations.
    "jabber:iq:oob", "jabber:iq:register", "http://jabber.org/features/iq-register", "registered", "register",
    "username", "address", "city", "state", "zip", "phone", "date", "misc", "urn:xmpp:ibr-token:0", "urn:xmpp:pars:0",
    "preauth", "token",
    // XEP-0012, 0092, 0202, 0256: small questions.
    "jabber:iq:last", "jabber:iq:version", "os", "urn:xmpp:time", "time", "tzo", "utc",
    // XEP-0080, 0107, 0108, 0118, 0172: what a user publishes.
    "http://jabber.org/protocol/geoloc", "geoloc", "accuracy", "alt", "area", "bearing", "building", "countrycode",
    "datum", "description", "floor", "lat", "lon", "postalcode", "room", "speed", "timestamp",
    "http://jabber.org/protocol/nick", "http://jabber.org/protocol/mood", "mood",
    "http://jabber.org/protocol/activity", "activity", "http://jabber.org/protocol/tune", "tune", "artist", "length",
    "rating", "source", "track",
    // XEP-0084, 0398: avatars.
    "urn:xmpp:avatar:data", "urn:xmpp:avatar:metadata", "data", "metadata", "info", "pointer", "bytes", "height",
    "width",
    // XEP-0071, 0231, 0221: markup and small pictures.
    "http://jabber.org/protocol/xhtml-im", "http://www.w3.org/1999/xhtml", "html", "p", "span", "br", "a", "img",
    "strong", "em", "blockquote", "ul", "ol", "li", "pre", "style", "href", "src", "urn:xmpp:bob", "cid", "max-age",
    // XEP-0115, 0390: capabilities.
    "urn:xmpp:caps",
    // XEP-0184, 0333, 0334, 0359: receipts, markers, hints, ids.
    "acknowledged", "no-permanent-store", "referenced-stanza",
    // XEP-0191, 0377: blocking and reports.
    "urn:xmpp:blocking", "urn:xmpp:blocking:errors", "blocklist", "block", "unblock", "blocked",
    "urn:xmpp:reporting:1", "report", "urn:xmpp:reporting:0",
    // XEP-0198: stream management.
    "urn:xmpp:sm:3", "sm", "enable", "enabled", "resume", "resumed", "failed", "r", "h", "previd", "location",
    "send-count", "handled-count-too-high",
    // XEP-0215: external services.
    "urn:xmpp:extdisco:2", "urn:xmpp:extdisco:1", "services", "service", "credentials", "host", "port", "transport",
    "expires", "restricted",
    // XEP-0280: carbons.
    "private", "disable",
    // XEP-0297, 0308, 0313, 0441: forwarding, correction, archives.
    "urn:xmpp:mam:1", "prefs", "always", "never", "stable", "unread", "start", "end", "flip-page",
    // XEP-0300: hashes.
    "urn:xmpp:hashes:2", "urn:xmpp:hashes:1", "algo", "hash-used",
    // XEP-0352: client state.
    "urn:xmpp:csi:0", "csi",
    // XEP-0166, 0167, 0176, 0293, 0294, 0320, 0338, 0339, 0343, 0353, 0371, 0482: calls.
    "urn:xmpp:jingle:1", "urn:xmpp:jingle:errors:1", "urn:xmpp:jingle:apps:rtp:1", "urn:xmpp:jingle:apps:rtp:info:1",
    "urn:xmpp:jingle:apps:rtp:errors:1", "urn:xmpp:jingle:apps:rtp:rtcp-fb:0",
    "urn:xmpp:jingle:apps:rtp:rtp-hdrext:0", "urn:xmpp:jingle:apps:rtp:ssma:0", "urn:xmpp:jingle:apps:dtls:0",
    "urn:xmpp:jingle:apps:grouping:0", "urn:xmpp:jingle:transports:ice-udp:1", "urn:xmpp:jingle:transports:ice:0",
    "urn:xmpp:jingle:transports:raw-udp:1", "urn:xmpp:jingle:transports:dtls-sctp:1",
    "urn:xmpp:jingle:transports:webrtc-datachannel:0", "urn:xmpp:jingle-message:0", "urn:xmpp:call-invites:0",
    "jingle", "content", "creator", "initiator", "responder", "senders", "disposition", "alternative-session", "busy",
    "connectivity-error", "expired", "failed-application", "failed-transport", "general-error",
    "incompatible-parameters", "media-error", "security-error", "timeout", "unsupported-applications",
    "unsupported-transports", "out-of-order", "tie-break", "unknown-session", "unsupported-info", "payload-type",
    "parameter", "channels", "clockrate", "maxptime", "ptime", "ssrc", "rtcp-mux", "rtcp-fb", "rtcp-fb-trr-int",
    "rtp-hdrext", "extmap-allow-mixed", "subtype", "ssrc-group", "semantics", "fingerprint", "setup", "candidate",
    "component", "foundation", "generation", "ip", "network", "protocol", "pwd", "rel-addr", "rel-port", "ufrag",
    "tcptype", "remote-candidate", "gathering-complete", "trickle", "bandwidth", "crypto", "ringing", "hold",
    "unhold", "unmute", "channel", "sctpmap", "streams", "propose", "accept", "reject", "finish", "migrated", "muji",
    "external", "left", "video", "audio",
    // XEP-0047, 0065, 0234, 0260, 0261, 0264: files between clients.
    "http://jabber.org/protocol/bytestreams", "http://jabber.org/protocol/ibb",
    "urn:xmpp:jingle:apps:file-transfer:5", "urn:xmpp:jingle:apps:file-transfer:4",
    "urn:xmpp:jingle:transports:s5b:1", "urn:xmpp:jingle:transports:ibb:1", "streamhost", "streamhost-used",
    "activate", "activated", "candidate-used", "candidate-error", "proxy-error", "dstaddr", "mode", "block-size",
    "seq", "close", "stanza", "file", "checksum", "size", "offset", "media-type", "thumbnail", "urn:xmpp:thumbs:1",
    // XEP-0357: push.
    "urn:xmpp:push:0", "urn:xmpp:push:summary", "notification",
    // XEP-0363: uploads.
    "urn:xmpp:http:upload:0", "urn:xmpp:http:upload:purpose:0", "slot", "get", "put", "filename", "content-type",
    "max-file-size", "file-too-large", "retry",
    // XEP-0372, 0382, 0393, 0394: references and text.
    "urn:xmpp:reference:0", "reference", "begin", "anchor", "urn:xmpp:spoiler:0", "spoiler", "urn:xmpp:styling:0",
    "unstyled", "urn:xmpp:markup:0", "markup", "emphasis", "deleted", "bcode", "list", "bquote",
    // XEP-0373, 0384, 0420, 0450, 0454: encryption.
    "urn:xmpp:openpgp:0", "openpgp", "urn:xmpp:otr:0", "jabber:x:encrypted", "jabber:x:signed", "bundle", "devices",
    "device", "signedPreKeyPublic", "signedPreKeyId", "signedPreKeySignature", "identityKey", "prekeys",
    "preKeyPublic", "preKeyId", "spk", "spks", "ik", "pk", "labelsig", "urn:xmpp:sce:1",
    "urn:xmpp:encryption:stub:sce:1", "envelope", "rpad", "urn:xmpp:tm:1", "urn:xmpp:atm:1", "trust-message",
    "key-owner", "trust", "distrust", "usage", "signcrypt", "sign", "crypt",
    // XEP-0386, 0388, 0440, 0474, 0480, 0484, 0478: newer negotiation.
    "urn:xmpp:sasl:2", "urn:xmpp:bind:0", "urn:xmpp:sasl-cb:0", "urn:xmpp:fast:0", "urn:xmpp:sasl:upgrade:0",
    "urn:xmpp:scram-upgrade:0", "urn:xmpp:stream-limits:0", "authenticate", "authentication", "inline",
    "initial-response", "additional-data", "authorization-identifier", "user-agent", "software", "tasks", "task",
    "task-data", "tag", "bound", "sasl-channel-binding", "channel-binding", "fast", "request-token", "invalidate",
    "tls-0rtt", "upgrade", "salt", "iterations", "limits", "max-bytes", "idle-seconds",
    // XEP-0424, 0425, 0422: retraction and moderation.
    "urn:xmpp:message-retract:1", "urn:xmpp:message-retract:0", "retracted", "urn:xmpp:message-moderate:1",
    "urn:xmpp:message-moderate:0", "moderate", "moderated", "urn:xmpp:fasten:0", "apply-to",
    // XEP-0385, 0446, 0447, 0448, 0449: shared files and stickers.
    "urn:xmpp:file:metadata:0", "urn:xmpp:sfs:0", "urn:xmpp:esfs:0", "urn:xmpp:stickers:0", "urn:xmpp:sims:1",
    "urn:xmpp:message-attaching:1", "urn:xmpp:jinglepub:1", "http://jabber.org/protocol/url-data", "file-sharing",
    "sources", "url-data", "target", "attach-to", "media-sharing", "sticker", "pack", "cipher",
    // XEP-0033, 0114, 0220, 0288, 0297, 0321, 0355, 0356, 0369, 0461 and others that servers speak.
    "http://jabber.org/protocol/address", "addresses", "jabber:component:accept", "handshake",
    "jabber:server:dialback", "db", "verify", "urn:xmpp:bidi", "bidi", "urn:xmpp:features:dialback", "dialback",
    "urn:xmpp:delegation:2", "delegation", "delegated", "urn:xmpp:privilege:2", "privilege", "perm", "privileged_iq",
    "urn:xmpp:mix:core:1", "mix", "urn:xmpp:serverinfo:0", "urn:xmpp:order-by:1",
    "http://jabber.org/protocol/offline", "http://jabber.org/protocol/amp", "msgoffline", "urn:xmpp:attention:0",
    "attention", "jabber:x:event", "jabber:x:delay", "http://jabber.org/protocol/feature-neg",
    "http://www.w3.org/2005/Atom", "entry", "author", "published", "updated", "summary", "link", "rel",
];
