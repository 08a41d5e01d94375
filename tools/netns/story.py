"""Two people behind an edge whose core is far away: they log in, chat, lose the way, and come back.

Usage: story.py HOST:PORT DOMAIN CUT_COMMAND MEND_COMMAND. Prints TAP; standard library only.
"""
import base64
import re
import socket
import ssl
import subprocess
import sys
import time

NUMBER = 0
FAILED = 0


def ok(good, what):
    global NUMBER, FAILED
    NUMBER += 1
    FAILED += not good
    print(f"{'ok' if good else 'not ok'} {NUMBER} - {what}", flush=True)
    return good


class Client:
    """A blocking client; what it expects is text."""

    def __init__(self, address, domain, user, patience=20):
        host, port = address.rsplit(":", 1)
        self.domain, self.user, self.text = domain, user, ""
        self.socket = socket.create_connection((host, int(port)), timeout=patience)
        self.header()
        self.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
        self.expect("<proceed[^>]*>")
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # the certificate was made a moment ago
        self.socket = context.wrap_socket(self.socket, server_hostname=domain)
        self.header()
        plain = base64.b64encode(f"\0{user}\0secret".encode()).decode()
        self.send(f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{plain}</auth>")
        self.expect("<success[^>]*>")
        self.header()
        self.send("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>here</resource></bind></iq>")
        self.expect("<jid>")
        self.send("<presence/>")
        self.expect(f"<presence[^>]*from=.{user}@")

    def header(self):
        self.send(
            f"<stream:stream to='{self.domain}' version='1.0' xmlns='jabber:client' "
            "xmlns:stream='http://etherx.jabber.org/streams'>"
        )
        self.expect("</stream:features>")

    def send(self, text):
        self.socket.sendall(text.encode())

    def expect(self, pattern, patience=None):
        if patience:
            self.socket.settimeout(patience)
        while not (found := re.search(pattern, self.text)):
            data = self.socket.recv(65536)
            if not data:
                raise EOFError(f"{self.user}: the stream ended; wanted {pattern}, got {self.text!r}")
            self.text += data.decode()
        self.text = self.text[found.end():]
        return found

    def chat(self, other, body):
        start = time.monotonic()
        self.send(f"<message to='{other.user}@{self.domain}/here' type='chat'><body>{body}</body></message>")
        other.expect(body)
        return time.monotonic() - start


def attempt(what, doing, seconds=60):
    """Tries until it works; None if it never does."""
    end = time.monotonic() + seconds
    while True:
        try:
            return doing()
        except (OSError, EOFError) as error:
            if time.monotonic() > end:
                print(f"# {what}: {error}")
                return None
            time.sleep(0.5)


def main(address, domain, cut, mend):
    log_in = lambda user: attempt(f"{user} logs in", lambda: Client(address, domain, user))
    ada, grace = log_in("ada"), log_in("grace")
    if not ok(ada and grace, "two people log in over the link"):
        return
    times = [ada.chat(grace, f"there-{n}") + grace.chat(ada, f"back-{n}") for n in range(20)]
    ok(True, f"they chat: {1000 * sum(times) / len(times):.0f} ms there and back")
    ok(sum(times) / len(times) > 0.06, "the way is long: every message crosses it twice")

    subprocess.run(cut, shell=True, check=True)
    # Whoever comes now is held at the door, not turned away.
    time.sleep(4)
    try:
        Client(address, domain, "ada", patience=2)
        ok(False, "nobody logs in while the core is out of reach")
    except TimeoutError:
        ok(True, "nobody logs in while the core is out of reach: they are held")
    except (OSError, EOFError) as error:
        ok(False, f"who comes meanwhile is held: {error}")
    subprocess.run(mend, shell=True, check=True)
    start = time.monotonic()
    try:
        ada.chat(grace, "again")
        ok(True, f"mended: who was there noticed nothing, and chats after {time.monotonic() - start:.1f} s")
        grace.chat(ada, "back again")
        ok(True, "and back")
    except (OSError, EOFError) as error:
        ok(False, f"mended: who was there chats on ({error})")


main(*sys.argv[1:])
sys.exit(FAILED > 0)
