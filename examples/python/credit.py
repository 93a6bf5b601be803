#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A service that knows nothing of sagas: whether a customer has credit for an amount. payment_http.py asks it within a
step. It does not begin when the caller's time (ce-expirytime) is over.

    LIMIT=5000 PORT=9002 ./credit.py
"""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import contract_http

LIMIT = int(os.environ.get("LIMIT", "5000"))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        wanted = json.loads(self.rfile.read(int(self.headers["content-length"])))
        left = contract_http.time_left(contract_http.headers_of(self.headers))
        print(f"asked for {wanted['amount']}, {left:.1f} s are left", flush=True)
        body = json.dumps({"granted": wanted["amount"] <= LIMIT}).encode()
        self.send_response(200 if left > 0 else 504)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "9002"))), Handler).serve_forever()
