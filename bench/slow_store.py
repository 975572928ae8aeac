"""A proxy before an HTTP store that makes each PUT take longer, as a store far away does: for measurements only."""

import asyncio
import contextlib
import threading


class SlowStore:
    """Listens on a port of its own and forwards to `host:port`; holds the head of each PUT back for `delay` seconds."""

    def __init__(self, target: str, delay: float):
        self.host, self.port = target.rsplit(":", 1)
        self.delay = delay
        self.address = ""
        self.loop = asyncio.new_event_loop()
        started = threading.Event()
        threading.Thread(target=self.run, args=(started,), daemon=True).start()
        started.wait(10)

    def run(self, started):
        async def serve():
            server = await asyncio.start_server(self.connection, "127.0.0.1", 0, limit=1 << 20)
            self.address = "%s:%d" % server.sockets[0].getsockname()[:2]
            started.set()
            await server.serve_forever()
        self.loop.run_until_complete(serve())

    async def connection(self, reader, writer):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            back_reader, back_writer = await asyncio.open_connection(self.host, int(self.port))
            answers = asyncio.ensure_future(self.copy(back_reader, writer))
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                while True:
                    await self.request(reader, back_writer)
            back_writer.close()
            await answers
        writer.close()

    async def request(self, reader, out):
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"PUT "):
            await asyncio.sleep(self.delay)
        out.write(head)
        length = 0
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        while length > 0:
            piece = await reader.read(min(length, 1 << 18))
            if not piece:
                raise asyncio.IncompleteReadError(b"", length)
            length -= len(piece)
            out.write(piece)
            await out.drain()

    @staticmethod
    async def copy(reader, writer):
        with contextlib.suppress(OSError):
            while piece := await reader.read(1 << 18):
                writer.write(piece)
                await writer.drain()
