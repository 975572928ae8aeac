"""A TCP proxy that cuts connections: before it has forwarded what a client sent, or right after it.

While the file `control` exists, each piece that a client sends meets a cut with some chance; otherwise everything is
forwarded. Also as a program: proxy.py PORT CONTROL prints the port that it listens on and runs until its input ends.
"""

import contextlib
import os
import random
import selectors
import socket
import sys
import threading

HOST = "127.0.0.1"


class Proxy:
    def __init__(self, port: int, control: str, seed: int = 1, chance: float = 0.03):
        self.target, self.control, self.chance = port, control, chance
        self.random = random.Random(seed)
        self.cuts = 0
        self.selector = selectors.DefaultSelector()
        self.listener = socket.create_server((HOST, 0), backlog=256)
        self.port = self.listener.getsockname()[1]
        self.selector.register(self.listener, selectors.EVENT_READ, None)
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            for key, _ in self.selector.select():
                if key.fileobj is self.listener:
                    self.accept()
                elif key.fileobj.fileno() >= 0:  # not closed by an event before it
                    self.forward(key.fileobj, *key.data)

    def accept(self):
        client, _ = self.listener.accept()
        try:
            server = socket.create_connection((HOST, self.target), timeout=5)
        except OSError:
            client.close()
            return
        for near, far, sends in ((client, server, True), (server, client, False)):
            near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.selector.register(near, selectors.EVENT_READ, (far, sends))

    def forward(self, source: socket.socket, target: socket.socket, from_client: bool):
        data = b""
        with contextlib.suppress(OSError):
            data = source.recv(1 << 18)
        cut = from_client and data and os.path.exists(self.control) and self.random.random() < self.chance
        after = self.random.random() < 0.6
        if data and (not cut or after):
            with contextlib.suppress(OSError):
                target.sendall(data)
        if cut or not data:
            self.cuts += 1 if cut else 0
            for end in (source, target):
                with contextlib.suppress(KeyError, ValueError):
                    self.selector.unregister(end)
                end.close()


if __name__ == "__main__":
    print(Proxy(int(sys.argv[1]), sys.argv[2]).port, flush=True)
    sys.stdin.read()
