"""The contract of hooks, run over those that come with qrec."""

from __future__ import annotations

import http.server
import threading

import pytest

from qrec.hooks.notices import Webhook
from qrec.testing import HookContract


class Listener(http.server.BaseHTTPRequestHandler):
    """Takes everything."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


class TestWebhook(HookContract):
    @pytest.fixture
    def kind(self):
        return Webhook

    @pytest.fixture
    def settings(self):
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Listener) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            yield {"webhook": f"http://127.0.0.1:{server.server_address[1]}/"}
            server.shutdown()
            thread.join()
