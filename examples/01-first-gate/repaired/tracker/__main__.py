"""Start the pages on port 8000."""

from wsgiref.simple_server import make_server

from django.core.wsgi import get_wsgi_application

from tracker import settings

with make_server(settings.ADDRESS, 8000, get_wsgi_application()) as server:
    server.serve_forever()
