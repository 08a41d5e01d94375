"""A program in a terminal of its own: what is typed, and what a person would see."""

import asyncio
import fcntl
import os
import pty
import re
import struct
import subprocess
import termios

import pyte

ROWS, COLUMNS = 40, 120


class Screen:
    """Starts a program in a pseudo-terminal; `text` is its screen, `lasting` all lines that it ever showed."""

    def __init__(self, command, environment):
        self.screen = pyte.Screen(COLUMNS, ROWS)
        self.stream = pyte.ByteStream(self.screen)
        self.seen = []
        self.changed = asyncio.Event()
        ours, its = pty.openpty()
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        language = {"TERM": "linux", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
        # Without its terminal a client may spin for ever: it dies with the story, however that ends.
        command = ["setpriv", "--pdeathsig", "KILL", *command]
        self.program = subprocess.Popen(
            command, stdin=its, stdout=its, stderr=its, start_new_session=True, env=os.environ | language | environment
        )
        os.close(its)
        self.terminal = ours
        os.set_blocking(ours, False)
        self.loop = asyncio.get_running_loop()
        self.loop.add_reader(ours, self.read)

    def read(self):
        try:
            data = os.read(self.terminal, 65536)
        except BlockingIOError:
            return
        except OSError:
            # The program has ended.
            data = b""
        if data:
            self.stream.feed(data)
            for line in self.screen.display:
                line = line.rstrip()
                if line and line not in self.seen[-4 * ROWS :]:
                    self.seen.append(line)
        else:
            self.loop.remove_reader(self.terminal)
        self.changed.set()

    @property
    def text(self):
        return "\n".join(line.rstrip() for line in self.screen.display).rstrip()

    def type(self, text, enter=True):
        os.write(self.terminal, text.encode() + (b"\r" if enter else b""))

    async def shows(self, pattern, flags=0):
        """Waits until the screen matches."""
        while not (found := re.search(pattern, self.text, flags)):
            self.changed.clear()
            await self.changed.wait()
        return found

    async def hides(self, pattern):
        """Waits until it no longer matches."""
        while re.search(pattern, self.text):
            self.changed.clear()
            await self.changed.wait()

    async def end(self):
        """Waits until the program has ended, and returns its exit code."""
        while self.program.poll() is None:
            await asyncio.sleep(0.05)
        return self.program.returncode

    def kill(self):
        self.loop.remove_reader(self.terminal)
        if self.program.poll() is None:
            self.program.kill()
            self.program.wait()
        os.close(self.terminal)
