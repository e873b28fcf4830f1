"""The page, one HTML file that loads nothing from elsewhere, and the policy that holds the browser to that."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from plots.embedded import digest_for_policy

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


def page_and_policy(served: dict[str, Any]) -> tuple[str, str]:
    """(the page, its Content-Security-Policy); ``served``: what the script must know, plain values."""
    templates = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined)
    page = templates.get_template("page.html").render(served=served)
    policy = (
        f"default-src 'none'; script-src {_digest(page, 'script')}; style-src {_digest(page, 'style')}; "
        "img-src blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return page, policy


def _digest(page, tag):
    content = re.search(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    assert content, f"page.html has no {tag}"
    return digest_for_policy(content[1])
