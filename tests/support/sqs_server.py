"""Serves SQS on a free port of the loopback interface until standard input closes.

The test that starts it holds the other end of that pipe, so that it ends with the test, however that ends: a panic and `kill -9`
included. The port is bound before it is printed, hence nobody can take it, and a request sent at once waits until it is served.
"""

import asyncio
import os
import socket
import sys
import threading

listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
port = listener.getsockname()[1]
# Read when the package is imported. Without MINISTACK_HOST the queue URLs name the host that the request asked: a proxy stays in between.
os.environ.update(GATEWAY_PORT=str(port), LOG_LEVEL="WARNING", MINISTACK_REGION="eu-west-1")
os.environ.pop("MINISTACK_HOST", None)

from hypercorn.asyncio import serve
from hypercorn.config import Config
from ministack.app import app


def end_with_the_test():
    # Not sys.stdin: its lock would be in the way of the interpreter's own exit.
    while os.read(0, 4096):
        pass
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
