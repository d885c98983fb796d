"""Tornado serving a folder: with its StaticFileHandler, or chunk by chunk with flush()."""
import asyncio
import os
import sys

import tornado.httpserver
import tornado.netutil
import tornado.process
import tornado.web

CHUNK = 64 * 1024
HANDLER, PORT, ROOT = sys.argv[1], int(sys.argv[2]), os.path.realpath(sys.argv[3])


class Flush(tornado.web.RequestHandler):
    async def get(self, path):
        path = os.path.realpath(os.path.join(ROOT, path))
        if not path.startswith(ROOT + os.sep):
            raise tornado.web.HTTPError(404)
        self.set_header("Content-Length", os.path.getsize(path))
        with open(path, "rb") as file:
            while chunk := file.read(CHUNK):
                self.write(chunk)
                await self.flush()


async def serve(sockets):
    static = (r"/(.*)", tornado.web.StaticFileHandler, {"path": ROOT})
    application = tornado.web.Application([static if HANDLER == "static" else (r"/(.*)", Flush)], log_function=lambda _: None)
    server = tornado.httpserver.HTTPServer(application)
    server.add_sockets(sockets)
    await asyncio.Event().wait()


sockets = tornado.netutil.bind_sockets(PORT, "127.0.0.1", backlog=4096)
tornado.process.fork_processes(os.cpu_count())
asyncio.run(serve(sockets))
