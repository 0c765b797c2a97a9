"""The page: the frontend's files as they lie in their folder, and Plotly.js out of the plotly package."""

import gzip
import hashlib
import importlib.metadata
import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

from fastapi import APIRouter, Request
from starlette.responses import Response

from lossboard_server import __version__
from lossboard_server.errors import NotFound, Unavailable

# What a folder may hold for the page; anything else in it (tests, tsconfig.json) is not served.
MEDIA_TYPES: Final = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".webp": "image/webp",
    ".webmanifest": "application/manifest+json",
}
GZIP_LEVEL: Final = 6  # of 4.6 MB, level 9 takes twice as long for 1 % less
_READ: Final = ["GET", "HEAD"]

router = APIRouter(include_in_schema=False)


class Asset(NamedTuple):
    """One file as it is sent."""

    content: bytes
    media_type: str
    etag: str


class Frontend:
    """The frontend's folder, listed before it is read: a name that the listing lacks is no path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._paths: dict[str, Path] = {}
        self._assets: dict[Path, tuple[tuple[int, int], Asset]] = {}

    def index(self) -> Asset:
        """Return the page with the address of Plotly.js and our version filled in."""
        path = self.folder / "index.html"
        if not path.is_file():
            raise Unavailable("This installation lacks the page's files; install lossboard again.")
        return self._load(path, "text/html; charset=utf-8")

    def asset(self, name: str) -> Asset:
        """Return one file by its path below the folder, with / between.

        Raises: NotFound.
        """
        if name not in self._paths:
            self._paths = self._list()  # a file that came since; only developers see that
        path = self._paths.get(name)
        if path is None or not path.is_file():
            raise NotFound("The page has no such file.")
        return self._load(path, MEDIA_TYPES[path.suffix])

    def _list(self) -> dict[str, Path]:
        found = self.folder.rglob("*")
        return {
            path.relative_to(self.folder).as_posix(): path
            for path in found
            if path.suffix in MEDIA_TYPES and path.is_file() and not path.is_symlink()
        }

    def _load(self, path: Path, media_type: str) -> Asset:
        status = path.stat()
        stamp = (status.st_mtime_ns, status.st_size)
        kept = self._assets.get(path)
        if kept is not None and kept[0] == stamp:
            return kept[1]
        content = path.read_bytes()
        if path.suffix == ".html":
            content = content.replace(b"{{plotly}}", plotly_address().encode())
            content = content.replace(b"{{version}}", __version__.encode())
        asset = Asset(content, media_type, _etag(content))
        self._assets[path] = (stamp, asset)
        return asset


def find_frontend() -> Path:
    """Return the frontend's folder: the source checkout's that this file lies in, else the wheel's.

    By `__file__`, since an editable install leaves a stale copy in site-packages.
    """
    package = Path(__file__).resolve().parent.parent
    checkout = package.parent.parent
    in_checkout = package.parent.name == "backend" and (checkout / "pyproject.toml").is_file()
    return checkout / "frontend" if in_checkout else package / "frontend"


@lru_cache(maxsize=1)
def plotly_address() -> str:
    """Return the path of Plotly.js; its version is in it, so browsers may keep it for ever."""
    return f"/plotly-{importlib.metadata.version('plotly')}.min.js"


@lru_cache(maxsize=1)
def plotly_script() -> tuple[bytes, bytes]:
    """Return Plotly.js and its gzip, read and compressed once; the first call takes about 0.2 s."""
    spec = importlib.util.find_spec("plotly")  # finds without importing: that would take 0.3 s
    if spec is None or spec.origin is None:
        raise Unavailable("The plotly package is missing; install lossboard[server].")
    plain = (Path(spec.origin).parent / "package_data" / "plotly.min.js").read_bytes()
    return plain, gzip.compress(plain, GZIP_LEVEL, mtime=0)


_frontend = lru_cache(maxsize=1)(lambda: Frontend(find_frontend()))


@router.api_route("/", methods=_READ)
def read_index(request: Request) -> Response:
    """Send the page."""
    return _send(request, _frontend().index())


@router.api_route("/favicon.ico", methods=_READ)
def read_icon(request: Request) -> Response:
    """Send the icon that browsers ask for by themselves."""
    return _send(request, _frontend().asset("icon.svg"))


@router.api_route("/static/{name:path}", methods=_READ)
def read_static(request: Request, name: str) -> Response:
    """Send one of the frontend's files; the browser asks each time whether its copy still holds."""
    return _send(request, _frontend().asset(name))


@router.api_route("/plotly-{version}.min.js", methods=_READ)
def read_plotly(request: Request, version: str) -> Response:
    """Send Plotly.js, of the installed version only."""
    if f"/plotly-{version}.min.js" != plotly_address():
        raise NotFound("Another version of Plotly is installed; reload the page.")
    plain, compressed = plotly_script()
    headers = {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}
    takes_gzip = "gzip" in request.headers.get("accept-encoding", "")
    if takes_gzip:
        headers["Content-Encoding"] = "gzip"
    return Response(compressed if takes_gzip else plain, 200, headers, MEDIA_TYPES[".js"])


def _send(request: Request, asset: Asset) -> Response:
    headers = {"ETag": asset.etag, "Cache-Control": "no-cache"}
    if asset.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(asset.content, 200, headers, asset.media_type)


def _etag(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'
