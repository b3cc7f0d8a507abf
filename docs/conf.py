"""How Sphinx builds these pages: `make docs`."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

from qrec import __version__  # noqa: E402

project = "qrec"
author = "the qrec authors"
project_copyright = "the qrec authors"
release = version = __version__

extensions = ["myst_parser", "from_code"]
exclude_patterns = ["_ext"]
nitpicky = True

# Links to headings are those that a forge makes, too, so the pages can be read there.
myst_heading_anchors = 4
myst_enable_extensions = ["deflist"]
# What a shell answers is no language; what the runner of the tests is told stands behind the first word.
highlight_language = "text"

html_theme = "furo"
html_title = f"qrec {__version__}"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_theme_options: dict[str, object] = {"footer_icons": []}
