"""Markdown reports as HTML pages. Text in them comes from outside: nothing in it may become markup or load anything."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from html import escape

_STYLE = (
    ":root{color-scheme:light dark}a{color:#0550ae;overflow-wrap:anywhere}"
    "body{font:16px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem;color:#1b1f24}"
    "table{border-collapse:collapse;display:block;overflow-x:auto;margin:1rem 0}"
    "th:empty{display:none}th,td{border:1px solid #c9d1d9;padding:.3rem .6rem;text-align:left;vertical-align:top}"
    "td:last-child{overflow-wrap:anywhere;min-width:10rem}"
    "pre,code{background:#f3f4f6;border-radius:4px}pre{padding:.6rem;overflow:auto}"
    "@media(prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}pre,code{background:#161b22}"
    "a{color:#79b8ff}th,td{border-color:#3d444d}}@media print{body{max-width:none;margin:0}table{overflow:visible}}"
)
_STYLE_HASH = b64encode(sha256(_STYLE.encode()).digest()).decode()

PAGE_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; frame-ancestors 'none'; base-uri 'none'",
}


def page(title: str, markdown: str) -> str:
    """A whole HTML page. Raw HTML in the text is shown as text, links with other schemes than the web's are not links."""
    from markdown_it import MarkdownIt

    body = MarkdownIt("js-default").disable("image").render(markdown.replace("\n- [ ] ", "\n- ☐ "))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>'
        f"\n<body><main>\n{body}</main></body></html>\n"
    )
