"""A TLS server and TLS clients of the standard library, which know nothing of turnpike.

    tls.py serve CERTIFICATE KEY [ADDRESS]     on port 8443; answers every request with `hello`
    tls.py get HOST [strict]                   prints what the server says, or `refused`
    tls.py hold HOST READY GO                  as get, with a context that was made before GO is there
"""

import http.client
import http.server
import os
import ssl
import sys
import time

PORT = 8443


class Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_):
        pass


def serve(certificate, key, address="127.0.0.1"):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = http.server.ThreadingHTTPServer((address, PORT), Hello)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    print("ready", flush=True)
    server.serve_forever()


def get(host, context):
    try:
        connection = http.client.HTTPSConnection(host, PORT, context=context, timeout=20)
        connection.request("GET", "/")
        print(connection.getresponse().read().decode(), flush=True)
    except ssl.SSLCertVerificationError:
        print("refused", flush=True)


def main(what, *words):
    if what == "serve":
        serve(*words)
    elif what == "get":
        context = ssl.create_default_context()
        if "strict" in words:
            # What Python 3.13 does by default.
            context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
        get(words[0], context)
    elif what == "hold":
        host, ready, go = words
        context = ssl.create_default_context()
        open(ready, "w").close()
        while not os.path.exists(go):
            time.sleep(0.01)
        get(host, context)


main(*sys.argv[1:])
