"""The HTTP side: the feed as JSON, health, and one page to look at it.

Served by gunicorn (gunicorn.conf.py, worker.py); `create_app` makes the application.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from urllib.parse import urlencode

import psycopg
from flask import Flask, Response, jsonify, request
from flask.typing import ResponseReturnValue
from flask_cors import CORS
from werkzeug.exceptions import HTTPException

from backend import settings
from backend.db import Pool, told
from backend.home_activities import LIMIT, MOST, Cursor, home
from backend.replica import reading

log = logging.getLogger("backend")

HEADERS = {
    # Frames are not forbidden: online workspaces preview a page in one, and this one has nothing to click into
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}

UNNAMED = "400 Bad Request: the feed is not known by this name. TRUSTED_HOSTS lists the names that it has.\n"


def create_app() -> Flask:
    """Return the application; raises `Misconfigured` for variables that cannot be read, but waits for no database."""
    read = settings.load()
    app = Flask("backend", static_folder=str(Path(__file__).parent / "static"))
    app.json.ensure_ascii = app.json.sort_keys = False  # type: ignore[attr-defined]
    if read.frontend:
        # No credentials: the feed is the same for everybody, and cookies have no part in it
        CORS(
            app,
            resources={r"/api/.*": {"origins": [read.frontend]}},
            methods=["GET", "HEAD", "OPTIONS"],
            allow_headers=["Authorization", "Content-Type"],
            expose_headers=["Link"],
        )

    @app.before_request
    def named() -> ResponseReturnValue | None:
        """Refuse another name than ours: by one of its own, a foreign page could read what is for this machine only."""
        return (
            None if settings.is_trusted(request.host, read.trusted) else (UNNAMED, 400, {"Content-Type": "text/plain"})
        )

    @app.get("/")
    def page() -> Response:
        return app.send_static_file("index.html")

    @app.get("/api/activities/home")
    def activities() -> ResponseReturnValue:
        try:
            limit, before = number(parameter("limit")), parameter("before")
            found = home(limit, Cursor.parse(before) if before is not None else None)
        except (ValueError, psycopg.DataError) as error:
            text = "before: no such time" if isinstance(error, psycopg.DataError) else str(error)
            return jsonify(error=text), 400
        response = jsonify(found.activities)
        if found.next:
            response.headers["Link"] = (
                f'<{request.path}?{urlencode({"limit": limit, "before": found.next})}>; rel="next"'
            )
        return response

    @app.get("/api/health")
    def health() -> ResponseReturnValue:
        def reached(source: Pool) -> None:
            with source.connection():  # checked before it is given out
                pass

        reading.read(reached)
        return jsonify(database="reachable")

    @app.errorhandler(psycopg.Error)
    def database(error: psycopg.Error) -> ResponseReturnValue:
        """Tell a database that is away, which passes, from one without our tables."""
        log.warning("%s %s: %s", request.method, request.path, told(error))
        if isinstance(error, psycopg.OperationalError):
            return jsonify(error="the database is not reachable: try again in a moment"), 503
        if isinstance(error, psycopg.errors.UndefinedTable | psycopg.errors.UndefinedColumn):
            return jsonify(error="the database has no such tables yet: inv db.setup"), 503
        return jsonify(error="the database refused the query; the server's log says why"), 500

    @app.errorhandler(HTTPException)
    def refused(error: HTTPException) -> ResponseReturnValue:
        """Answer an API's client in JSON, with the headers that belong to the error."""
        response = error.get_response()
        if request.path.startswith("/api/"):
            response.set_data(app.json.dumps({"error": error.name}))
            response.content_type = "application/json"
        return response

    @app.after_request
    def secured(response: Response) -> Response:
        response.headers.update(HEADERS)
        # Kept by nobody where it is data; the page's own files are asked for again each time
        response.headers["Cache-Control"] = "no-store" if request.path.startswith("/api/") else "no-cache"
        return response

    return app


def parameter(name: str) -> str | None:
    """Return a parameter of the query; raise `ValueError` where it is given twice."""
    given = request.args.getlist(name)
    if len(given) > 1:
        raise ValueError(f"{name}: give it once")
    return given[0] if given else None


def number(text: str | None) -> int:
    """Read `limit`; `home` says which numbers will do."""
    if text is None:
        return LIMIT
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise ValueError(f"limit: give a whole number from 1 to {MOST}")
    return int(text)
