"""Serves SQS on a free port of the loopback interface until standard input closes.

The test that starts it holds the other end of that pipe, so that it ends with the test, however that ends: a panic and `kill -9`
included. The port is bound before it is printed, hence nobody can take it, and a request sent at once waits until it is served.

With `--manual-clock`, leases, delays and times of sending follow a clock that stands still. It moves by each number of seconds that comes
in a line through the pipe; "passed" on standard output says that it did. So a test lets leases lapse without waiting for them.
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
# Read when the package is imported. Without MINISTACK_HOST the queue URLs name the host that the request asked: a proxy stays in between.
os.environ.update(GATEWAY_PORT=str(port), LOG_LEVEL="WARNING", MINISTACK_REGION="eu-west-1")
os.environ.pop("MINISTACK_HOST", None)

from hypercorn.asyncio import serve
from hypercorn.config import Config
from ministack.app import app
from ministack.services import sqs

# As AWS writes it: in its XML a quote is an entity as well, and a carriage return, which a reader of XML would lose. A JSON body is mostly quotes.
sqs._esc = lambda text: escape(text, {'"': "&quot;", "\r": "&#xD;"})


class ManualClock:
    """Takes the place of the modules `time` and `asyncio` in the server's SQS."""

    def __init__(self):
        self.now = time.time()
        # A long poll sees the time go by for which it waits itself, and it alone.
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
    # Not sys.stdin: its lock would be in the way of the interpreter's own exit.
    unread = b""
    while received := os.read(0, 4096):
        *lines, unread = (unread + received).split(b"\n")
        for line in lines:
            clock.now += float(line)
            os.write(1, b"passed\n")
    os._exit(0)


threading.Thread(target=end_with_the_test, daemon=True).start()
print(port, flush=True)
# What the server prints of itself is log, and nobody reads standard output any more.
sys.stdout = sys.stderr

config = Config()
config.bind = [f"fd://{listener.detach()}"]
config.keep_alive_timeout = 75
config.loglevel = "WARNING"
asyncio.run(serve(app, config))
