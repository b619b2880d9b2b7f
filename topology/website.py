"""A web server in the lab's internet: it answers with the address of whoever asked, so that one sees who that is out there.

A program of its own: nothing is imported but the standard library, for it starts with every cloud.
"""

import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    address_family = socket.AF_INET6  # and IPv4 as ::ffff:…, which the kernel maps

    def server_bind(self) -> None:
        self.socket.bind(self.server_address)  # what it overrides asks DNS for a name


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        address = self.client_address[0].removeprefix("::ffff:")
        answer = f"{address} {self.client_address[1]}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        return


if __name__ == "__main__":
    Server(("::", 80), Handler).serve_forever()
