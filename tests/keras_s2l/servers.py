"""A server on 127.0.0.1 that speaks TF Hub's protocol."""

import contextlib
import http.server
import threading


@contextlib.contextmanager
def hub_server(archive, break_off=0):
    """Serves an archive at any path; gives the URL of one and the paths that were asked for.

    Args:
        archive: What is sent to whoever asks for the compressed format.
        break_off: How many answers end half-way.
    """
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            if "tf-hub-format=compressed" not in self.path or "missing" in self.path:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(archive)))
            self.end_headers()
            breaks = len(asked) <= break_off
            self.wfile.write(archive[: len(archive) // 2] if breaks else archive)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/notes/1", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
