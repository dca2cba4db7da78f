"""Routes of the page and of the two files that it consists of besides; none needs a key, for none has data."""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

FOLDER = Path(__file__).with_name("static")
MEDIA_TYPES = {"index.html": "text/html", "page.css": "text/css", "page.js": "text/javascript"}
HEADERS = {
    # its own files and its own API; nothing inline, nothing from elsewhere
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}

router = APIRouter(include_in_schema=False)


def _file(name: str) -> FileResponse:
    return FileResponse(FOLDER / name, media_type=f"{MEDIA_TYPES[name]}; charset=utf-8", headers=HEADERS)


@router.get("/")
async def page() -> FileResponse:
    """The page itself."""
    return _file("index.html")


@router.get("/page/page.css")
async def style() -> FileResponse:
    """How it looks."""
    return _file("page.css")


@router.get("/page/page.js")
async def script() -> FileResponse:
    """What it does."""
    return _file("page.js")
