"""Opening a browser: through a file that only the user may read, since everybody may read a program's arguments."""

from __future__ import annotations

import html
import os

from qrec.config import replace_file


def show_page(home: str, url: str) -> None:
    """Have the user's browser open an address that holds a token."""
    import webbrowser

    path = os.path.join(home, "dashboard", "open.html")
    page = f'<!doctype html><meta http-equiv="refresh" content="0;url={html.escape(url)}">\n'
    replace_file(path, page.encode())
    webbrowser.open(f"file://{path}")
