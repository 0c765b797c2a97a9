"""/docs: a plain list of the routes and the problems. FastAPI's own page loads scripts from a CDN."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from lossboard_server import __version__
from lossboard_server.api.problems import mark_code
from lossboard_server.errors import LossboardError

router = APIRouter(include_in_schema=False)

_METHODS: Final = ("get", "put", "post", "patch", "delete")


@router.get("/docs")
def read_docs(request: Request) -> HTMLResponse:
    """Show what the service can be asked, out of its own OpenAPI description."""
    description = request.app.openapi()
    routes = "".join(_write_route(*route) for route in _routes(description["paths"]))
    problems = "".join(_write_problem(kind) for kind in _kinds(LossboardError))
    text = _PAGE.format(version=escape(__version__), routes=routes, problems=problems)
    return HTMLResponse(text, headers={"Cache-Control": "no-cache"})


def _routes(paths: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for path, operations in sorted(paths.items()):
        for method in _METHODS:
            if method in operations:
                yield method, path, operations[method]


def _write_route(method: str, path: str, operation: Mapping[str, Any]) -> str:
    text = mark_code(operation.get("description") or operation.get("summary") or "")
    parameters = [p for p in operation.get("parameters", ()) if p.get("in") == "query"]
    names = ", ".join(f"<code>{escape(p['name'])}</code>" for p in parameters)
    query = f"<p>Query: {names}</p>" if names else ""
    return f"<dt><code>{method.upper()} {escape(path)}</code></dt><dd><p>{text}</p>{query}</dd>"


def _kinds(root: type[LossboardError]) -> Iterator[type[LossboardError]]:
    yield root
    for kind in root.__subclasses__():
        yield from _kinds(kind)


def _write_problem(kind: type[LossboardError]) -> str:
    text = mark_code((kind.__doc__ or "").partition("\n")[0])
    code = f"<code>{escape(kind.code)}</code>"
    return f'<tr id="{escape(kind.code)}"><td>{kind.status}</td><td>{code}</td><td>{text}</td></tr>'


_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Lossboard {version}: the HTTP API</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 32px auto; max-width: 52rem; padding: 0 24px; }}
h1 {{ font-size: 20px; font-weight: 600; }} h2 {{ font-size: 16px; font-weight: 600; margin-top: 32px; }}
code {{ font: 14px ui-monospace, monospace; }} dt {{ margin-top: 16px; }} dd {{ margin: 0 0 0 24px; }}
dd p {{ margin: 4px 0; white-space: pre-line; }} td {{ padding: 2px 16px 2px 0; vertical-align: top; }}
</style></head>
<body><main><h1>Lossboard {version}: the HTTP API</h1>
<p>For programs: <a href="/openapi.json">/openapi.json</a>. Send <code>Authorization: Bearer TOKEN</code>;
<code>lossboard token</code> prints it.</p>
<h2>Routes</h2><dl>{routes}</dl>
<h2>Problems</h2><p>Every failure is <code>application/problem+json</code> with one of these codes.</p>
<table>{problems}</table></main></body></html>
"""
