#!/usr/bin/env python3
"""Logs in bound to the TLS channel, with OpenSSL and Python's own hashes: nothing of it is the server's.

    story_openssl.py HOST PORT starttls|direct CA.pem EXPIRED-PORT ADA@DOMAIN PASSWORD [more, ignored]

SCRAM-SHA-512-PLUS with `tls-exporter` (RFC 9266) and `tls-server-end-point` (RFC 5929), on TLS 1.3, TLS 1.2, and
TLS 1.2 without the extended master secret (RFC 7627), where the exporter must not be offered. Each step is
one line of TAP. Exit code 0 only if every step was ok.
"""

import base64
import hashlib
import hmac
import os
import re
import signal
import socket
import sys

from OpenSSL import SSL, crypto

DEADLINE_SECONDS = 60
# SSL_OP_NO_EXTENDED_MASTER_SECRET, which pyOpenSSL does not name.
NO_EXTENDED_MASTER_SECRET = 1


class Stream:
    def __init__(self, host, port, transport, ca, domain, options):
        self.domain = domain
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.load_verify_locations(ca)
        context.set_verify(SSL.VERIFY_PEER, lambda _connection, _certificate, _error, _depth, ok: bool(ok))
        context.set_min_proto_version(options["version"])
        context.set_max_proto_version(options["version"])
        context.set_options(options.get("options", 0))
        self.socket = socket.create_connection((host, port))
        if transport == "starttls":
            self.open()
            self.ask("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", "<proceed")
        self.socket = SSL.Connection(context, self.socket)
        self.socket.set_tlsext_host_name(domain.encode())
        self.socket.set_connect_state()
        self.socket.do_handshake()
        self.features = self.open()

    def open(self):
        return self.ask(
            f"<stream:stream to='{self.domain}' version='1.0' xmlns='jabber:client' "
            "xmlns:stream='http://etherx.jabber.org/streams'>",
            "</stream:features>",
        )

    def ask(self, text, until):
        self.socket.sendall(text.encode())
        got = ""
        while not re.search(until, got):
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionError(f"closed behind {got!r}")
            got += data.decode()
        return got

    def end_point(self):
        # RFC 5929 section 4.1; the test server's certificate is signed with SHA-256.
        der = crypto.dump_certificate(crypto.FILETYPE_ASN1, self.socket.get_peer_certificate())
        return hashlib.sha256(der).digest()

    def exporter(self):
        # RFC 9266 section 2: the context is there and empty, which is not the same as none in TLS 1.2.
        return self.socket.export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")

    def log_in(self, user, password, name, data):
        """SCRAM-SHA-512-PLUS (RFC 5802); the failure's condition, or None."""
        sasl = "urn:ietf:params:xml:ns:xmpp-sasl"
        header = f"p={name},,"
        bare = f"n={user},r={base64.b64encode(os.urandom(18)).decode()}"
        encode = lambda data: base64.b64encode(data).decode()
        first = f"<auth xmlns='{sasl}' mechanism='SCRAM-SHA-512-PLUS'>{encode((header + bare).encode())}</auth>"
        got = self.ask(first, "</challenge>|</failure>")
        if "failure" in got:
            return re.search("<failure[^>]*><([a-z-]+)", got)[1]
        challenge = base64.b64decode(re.search("<challenge[^>]*>([^<]*)<", got)[1]).decode()
        # Extensions may follow (RFC 5802 §7), as XEP-0474's.
        nonce, salt, iterations = (field[2:] for field in challenge.split(",")[:3])
        salted = hashlib.pbkdf2_hmac("sha512", password.encode(), base64.b64decode(salt), int(iterations))
        sign = lambda key, text: hmac.new(key, text, "sha512").digest()
        client_key = sign(salted, b"Client Key")
        without_proof = f"c={encode(header.encode() + data)},r={nonce}"
        message = f"{bare},{challenge},{without_proof}".encode()
        signature = sign(hashlib.sha512(client_key).digest(), message)
        proof = bytes(a ^ b for a, b in zip(client_key, signature))
        last = encode(f"{without_proof},p={encode(proof)}".encode())
        got = self.ask(f"<response xmlns='{sasl}'>{last}</response>", "</success>|</failure>")
        if "failure" in got:
            return re.search("<failure[^>]*><([a-z-]+)", got)[1]
        verifier = base64.b64decode(re.search("<success[^>]*>([^<]*)<", got)[1]).decode()
        assert verifier == f"v={encode(sign(sign(salted, b'Server Key'), message))}", "the server's proof"
        return None


def main():
    host, port, transport, ca, _expired, jid, password = sys.argv[1:8]
    signal.alarm(DEADLINE_SECONDS)
    user, domain = jid.split("@")
    connections = [
        ("TLS 1.3", {"version": SSL.TLS1_3_VERSION}, True),
        ("TLS 1.2", {"version": SSL.TLS1_2_VERSION}, True),
        (
            "TLS 1.2 without extended master secret",
            {"version": SSL.TLS1_2_VERSION, "options": NO_EXTENDED_MASTER_SECRET},
            False,
        ),
    ]
    number = failed = 0

    def step(good, text):
        nonlocal number, failed
        number += 1
        failed += not good
        print(f"{'ok' if good else 'not ok'} {number} - {text}", flush=True)

    for name, options, exporter in connections:
        connect = lambda: Stream(host, int(port), transport, ca, domain, options)
        stream = connect()
        announced = set(re.findall("<channel-binding type='([^']*)'", stream.features))
        wanted = {"tls-server-end-point"} | ({"tls-exporter"} if exporter else set())
        step(announced == wanted, f"{name}: announces {', '.join(sorted(announced))}")
        mechanisms = re.findall("<mechanism>([^<]*)<", stream.features)
        step(mechanisms[:1] == ["SCRAM-SHA-512-PLUS"], f"{name}: the strongest mechanism comes first")
        foreign = hashlib.sha256(b"another certificate").digest()
        refused = stream.log_in(user, password, "tls-server-end-point", foreign)
        step(refused == "not-authorized", f"{name}: another certificate's hash is refused")
        refused = stream.log_in(user, password, "tls-server-end-point", stream.end_point())
        step(refused is None, f"{name}: bound to the certificate shown ({refused})")
        stream = connect()
        refused = stream.log_in(user, password, "tls-exporter", stream.exporter())
        if exporter:
            step(refused is None, f"{name}: bound to the connection ({refused})")
        else:
            step(refused == "not-authorized", f"{name}: what is not announced is refused")
    print(f"1..{number}")
    sys.exit(1 if failed else 0)


main()
