# SPDX-License-Identifier: Apache-2.0
"""The other way in of docs/contract.md: commands over HTTP. The barrier is that of contract.py; copy both into your
service and change what you like."""

import base64
import hashlib
import hmac
import json
import threading
import time
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import contract

SIGNATURE_AGE_MAX = 300


def headers_of(request):
    """The attributes as over Kafka: ce-sagaid is ce_sagaid, percent-decoded."""
    headers = {"ce_" + name[3:].lower(): unquote(value) for name, value in request.items() if name.lower().startswith("ce-")}
    if "traceparent" in request:
        headers["traceparent"] = request["traceparent"]
    return headers


def is_signed(request, body, secret):
    """The Standard Webhooks: HMAC-SHA256 of <id>.<timestamp>.<body>. An old signature is no signature."""
    if not secret:
        return True
    key = base64.b64decode(secret.removeprefix("whsec_"))
    number, at = request.get("webhook-id", ""), request.get("webhook-timestamp", "0")
    if abs(time.time() - int(at)) > SIGNATURE_AGE_MAX or number != request.get("ce-id"):
        return False
    made = base64.b64encode(hmac.new(key, f"{number}.{at}.".encode() + body, hashlib.sha256).digest()).decode()
    given = request.get("webhook-signature", "").split()
    return any(hmac.compare_digest("v1," + made, one) for one in given)


def time_left(headers, otherwise=5.0):
    """Seconds until nobody waits for this try any more; an undo is wanted however late."""
    if "ce_expirytime" not in headers:
        return otherwise
    until = datetime.fromisoformat(headers["ce_expirytime"].replace("Z", "+00:00"))
    return (until - datetime.now(timezone.utc)).total_seconds()


def serve(name, connect, handlers, events=lambda *_: (), port=0, secret=""):
    """Answers commands at every path of the port until it is told to stop. The arguments are those of
    contract.serve. A thread and a database connection for each connection of the engine's."""
    mine = threading.local()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if not is_signed(self.headers, body, secret):
                return self.answer(401, b"{}")  # an operator looks at it
            headers = headers_of(self.headers)
            if headers["ce_sagadirection"] == "forward" and time_left(headers) <= 0:
                return self.answer(503, b"{}", error="nobody waits for it any more")  # not started: do not start
            if getattr(mine, "db", None) is None or mine.db.closed:
                mine.db = connect()
            outcome, reply, error = contract.answer(mine.db, headers, body, handlers)
            if outcome == "success":
                for event in events(headers, json.loads(body), json.loads(reply)):
                    contract.publish(name, headers, event)
            status = {"success": 200, "failure": 409}.get(outcome, 500)
            return self.answer(status, reply or b"{}", outcome, error)

        def answer(self, status, body, outcome=None, error=None):
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            if outcome == "failure":
                self.send_header("ce-sagaoutcome", "failure")
            if error:
                self.send_header("ce-sagaerror", " ".join(error.encode("ascii", "replace").decode().split())[:400])
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    stop = contract.Stop()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    while not stop:
        time.sleep(0.1)
    server.shutdown()
