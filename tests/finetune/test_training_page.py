"""The page of training files: hostile names stay text, it needs no network, and it looks right."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from command import Command

from browser import CHROMIUM, WELL, look_at

if TYPE_CHECKING:
    from conftest import Files

HOSTILE = "</script><script>alert(1)</script>"


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], files: Files) -> Path:
    """A page with all of its parts, of which some names are hostile."""
    rows = [
        {"text": f"Text {n} {'word ' * (n % 9)}", HOSTILE: HOSTILE if n % 2 else "other", "who": f"{n}"}
        for n in range(90)
    ]
    files.lines(f"{'long-' * 20}name.jsonl", [*rows, {"text": "", HOSTILE: "other"}])
    words = ("--prompt", "{text}", "--answer", f"{{{HOSTILE}}}", "--system", HOSTILE, "--drop-invalid")
    ran = Command(monkeypatch, capsys)("finetune", "prepare", ".", "-o", "out", *words)
    assert ran.exit_code == 0, ran.stdout
    return Path("out/report.html")


def test_hostile_names_stay_text(page: Path) -> None:
    text = page.read_text("utf-8")
    assert "<script>alert" not in text
    assert "http://" not in text.replace("http://www.w3.org", "")
    assert "1 row left out." in text
    assert "message 2, content: the content is empty" in text


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_the_page_in_a_browser(page: Path) -> None:
    for seen in look_at(page, [(1200, "light"), (1200, "dark"), (390, "light")]):
        assert not seen.complaints
        assert [url for url in seen.requests if not url.startswith(("file:", "data:"))] == []
        assert seen.look == {**WELL, "charts": 2}
