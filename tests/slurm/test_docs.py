"""The pages that show Slurm, played on a real cluster."""

from __future__ import annotations

import pytest

from tests.pages.playing import PAGES, name_of, play, takes_slurm


@pytest.mark.parametrize("page", [page for page in PAGES if takes_slurm(page)], ids=name_of)
def test_a_page_does_what_it_tells(page, tmp_path, user_home, monkeypatch):
    play(page, tmp_path, user_home, monkeypatch)
