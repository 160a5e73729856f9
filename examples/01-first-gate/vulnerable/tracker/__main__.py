"""Start the pages on port 8000."""

from wsgiref.simple_server import make_server

from django.core.wsgi import get_wsgi_application

with make_server("0.0.0.0", 8000, get_wsgi_application()) as server:
    server.serve_forever()
