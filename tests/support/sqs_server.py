"""Serves SQS on a free port of the loopback interface until standard input closes.

The test that starts this server holds the other end of that pipe, so the server ends with the test, even after a panic
or `kill -9`. The port is bound before it is printed, so that no other process can take it; a request sent at once waits
until it is served.

With `--manual-clock`, leases, delays and times of sending follow a clock that stands still. Each line on standard input
moves the clock by a number of seconds, and "passed" on standard output confirms that. A test can thus let leases expire
without waiting for them.
"""

import asyncio
import contextvars
import os
import socket
import sys
import threading
import time
import types
from xml.sax.saxutils import escape

listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
port = listener.getsockname()[1]
# The package reads these variables when it is imported. Without MINISTACK_HOST, the URLs of queues contain the host to
# which the request was made, so that a proxy stays in between.
os.environ.update(GATEWAY_PORT=str(port), LOG_LEVEL="WARNING", MINISTACK_REGION="eu-west-1")
os.environ.pop("MINISTACK_HOST", None)

from hypercorn.asyncio import serve
from hypercorn.config import Config
from ministack.app import app
from ministack.services import sqs

# AWS's XML also has entities for quotes, of which a JSON body is full, and for carriage returns, which an XML parser
# would lose.
sqs._esc = lambda text: escape(text, {'"': "&quot;", "\r": "&#xD;"})


class ManualClock:
    """Takes the place of the modules `time` and `asyncio` in the server's SQS."""

    def __init__(self):
        self.now = time.time()
        # Only a long poll sees time pass, and only the time for which it waits itself.
        self.waited = contextvars.ContextVar("waited", default=0.0)
        self.time = types.SimpleNamespace(**(vars(time) | {"time": lambda: self.now + self.waited.get()}))
        self.asyncio = types.SimpleNamespace(**(vars(asyncio) | {"sleep": self.sleep}))

    async def sleep(self, seconds):
        await asyncio.sleep(seconds)
        self.waited.set(self.waited.get() + seconds)


clock = None
if "--manual-clock" in sys.argv:
    clock = ManualClock()
    sqs.time, sqs.asyncio = clock.time, clock.asyncio


def end_with_the_test():
    # Not sys.stdin, whose lock would block the interpreter's exit.
    unread = b""
    while received := os.read(0, 4096):
        *lines, unread = (unread + received).split(b"\n")
        for line in lines:
            clock.now += float(line)
            os.write(1, b"passed\n")
    os._exit(0)


threading.Thread(target=end_with_the_test, daemon=True).start()
print(port, flush=True)
# From here on the server only prints log lines, and standard output has no reader any more.
sys.stdout = sys.stderr

config = Config()
config.bind = [f"fd://{listener.detach()}"]
config.keep_alive_timeout = 75
config.loglevel = "WARNING"
asyncio.run(serve(app, config))
