"""The page as an application of Flask: what each path answers, to whom the door lets in (ops/look/door.py)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops import console
from ops.look import panels
from ops.look.door import Door
from ops.look.panels import Failure
from ops.look.watch import Job, Looker

if TYPE_CHECKING:
    from flask import Flask, Response
    from flask.typing import ResponseReturnValue

STATIC = Path(__file__).parent / "static"
PATIENCE = 0.5
"""Seconds after which who waits for an answer is told to ask again, at once from then on: a target that hangs keeps no thread of ours,
and none of the six connections that a browser has to one server."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
# By a page of ours and not by a redirect: a cookie that is Strict does not go with a request that another site has begun
ENTERED = (
    '<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0;url={path}"><title>inv look</title>\n'
)
CLOSED = (
    "401: this page is for who started it: open the address that inv look has printed. It lets in once: a window that it has "
    "let in stays so, and inv look started again has another one.\n"
)
NOT_OURS = "403: this is none of the names or pages of inv look.\n"


def create_app(looker: Looker, door: Door) -> Flask:
    """Return the application."""
    from flask import Blueprint, Flask, Response, request

    app = Flask("inv look", static_folder=None)
    ours = Blueprint("page", __name__, url_prefix=door.path.rstrip("/"))

    @app.before_request
    def closed() -> ResponseReturnValue | None:
        entering = request.path == "/" and "token" in request.args
        headers = request.headers
        if not door.is_ours(request.host, headers.get("Origin"), headers.get("Sec-Fetch-Site"), entering=entering):
            return plain(NOT_OURS, 403)
        if request.method not in ("GET", "HEAD"):
            return plain("405: there is nothing to write here.\n", 405)
        if entering and (key := door.enter(request.args["token"])):
            by_https = headers.get("X-Forwarded-Proto") == "https"  # who makes that up shuts himself out
            response = Response(ENTERED.format(path=door.path), content_type="text/html; charset=utf-8")
            response.set_cookie(door.cookie, key, httponly=True, samesite="Strict", path=door.path, secure=by_https)
            return response
        if not door.lets_in(request.cookies.get(door.cookie, "")):
            return plain(CLOSED, 401)
        return None

    @ours.get("/")
    def page() -> Response:
        return static("look.html", "text/html")

    @ours.get("/look.css")
    def style() -> Response:
        return static("look.css", "text/css")

    @ours.get("/look.js")
    def script() -> Response:
        return static("look.js", "text/javascript")

    @ours.get("/icon.svg")
    def icon() -> Response:
        return static("icon.svg", "image/svg+xml")

    @ours.get("/api/targets")
    def targets() -> Response:
        return json(told(looker))

    @ours.get("/api/<name>/now")
    def now(name: str) -> ResponseReturnValue:
        if name not in looker.watches:
            return json({"error": "there is no such target on this page"}, 404)
        return json(looker.watches[name].looks())

    @ours.get("/api/<name>/<panel>")
    def panel(name: str, panel: str) -> ResponseReturnValue:
        if name not in looker.watches or panel not in panels.PANELS:
            return json({"error": "there is no such thing on this page"}, 404)
        return answered(looker.ask(name, panel, PATIENCE))

    @ours.get("/api/<name>/drift/<other>")
    def drift(name: str, other: str) -> ResponseReturnValue:
        if name == other or not {name, other} <= looker.watches.keys():
            return json({"error": "there are no such targets on this page"}, 404)
        return answered(looker.ask(name, f"{panels.DRIFT}{other}", PATIENCE))

    def answered(job: Job) -> ResponseReturnValue:
        if not job.done.is_set():
            return json({"waiting_seconds": job.seconds}, 202)
        if isinstance(job.answer, Failure):
            return json(job.answer._asdict(), 502)
        return json(job.answer)

    @app.after_request
    def secured(response: Response) -> Response:
        response.headers.update(HEADERS)
        return response

    app.register_blueprint(ours)
    return app


def told(looker: Looker) -> list[dict[str, Any]]:
    """Return the targets of the page, and whether there is something of each on AWS."""
    return [{"name": name, "cloud": panels.is_of_aws(looker.settings, name)} for name in looker.names]


def json(answer: Any, status: int = 200) -> Response:
    from flask import Response

    return Response(console.json_text(answer, indent=None), status, content_type="application/json")


def plain(text: str, status: int) -> Response:
    from flask import Response

    return Response(text, status, content_type="text/plain; charset=utf-8")


def static(name: str, kind: str) -> Response:
    from flask import Response

    return Response((STATIC / name).read_bytes(), content_type=f"{kind}; charset=utf-8")
