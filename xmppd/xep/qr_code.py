"""Pictures of links: QR codes."""

from __future__ import annotations

import io

import segno


def qr_text(link: str) -> str:
    """A QR code of a link, for a terminal: white is drawn, so it is right on a dark ground."""
    out = io.StringIO()
    segno.make(link, error="l", micro=False).terminal(out=out, compact=True)
    return out.getvalue()


def qr_svg(link: str) -> str:
    """A QR code of a link as an SVG element for a page."""
    out = io.BytesIO()
    segno.make(link, error="m", micro=False).save(
        out, kind="svg", scale=5, border=4, xmldecl=False, svgns=True, light="#fff", nl=False
    )
    return out.getvalue().decode()
