"""The page of an evaluation: text of others stays text, links lead somewhere, the same bytes each time."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from batchscore.report.page.frame import source
from browser import CHROMIUM, WELL, look_at
from evaluated import FAILED, measured, write_input, write_scores, write_vectors

HOSTILE = (
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>, and: more",
    "invoice\u202egpj.exe\u2028",
    "${policy} $title",
)


class Elements(HTMLParser):
    """The elements of a page by tag, its ids and links."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.ids: set[str] = set()
        self.links: set[str] = set()
        text = page.read_text("utf-8")
        self.feed(text.replace(source("vendor/chart.umd.min.js"), ""))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        found = dict(attrs)
        assert not any(name.startswith("on") for name in found)
        self.ids.add(found.get("id") or "")
        if tag == "a":
            self.links.add((found.get("href") or "").removeprefix("#"))


def compared(folder: Path, labels: Sequence[str], name: str = "b") -> Path:
    """Evaluate two models on rows with these labels, and return the page."""
    rows = [{"label": labels[n % len(labels)], "text": f"{labels[0]} {n % 3}", "id": name} for n in range(12)]
    source = write_input(folder / "in" / f"{name}.csv", rows)
    turned = [*labels[1:], labels[0]]
    answers: list[Any] = [rows[n]["label"] if n % 4 else turned[n % len(labels)] for n in range(12)]
    one = write_scores(folder / "one", source, answers, keep=["label", "text"], id_column="id")
    answers[1:3] = [FAILED, f"I do not know {labels[0][:3]}"]
    two = write_scores(folder / "two", source, answers, keep=["label", "text"], id_column="id")
    more = ("--label", "label", "--as", "text-classification", "--show", "text", "--by", "text")
    measured(folder / "e", one, two, *more, "--require", "accuracy>=0.9", "--names", f"{labels[0]},two")
    return folder / "e" / "evaluation.html"


def test_text_of_others_stays_text(tmp_path: Path) -> None:
    plain = Elements(compared(tmp_path / "a", ["one", "two", "three", "four"]))
    hostile = Elements(compared(tmp_path / "b", [each.replace(",", ";") for each in HOSTILE]))
    # The words of answers may give other rows other outcomes, so only kinds of elements are the same.
    assert hostile.tags.keys() == plain.tags.keys()
    assert hostile.tags["script"] == plain.tags["script"] == 3
    for each in (plain, hostile):
        assert each.links - {"first"}
        assert each.links <= each.ids


def test_line_breaks_of_texts_are_blanks(tmp_path: Path) -> None:
    source = write_input(tmp_path / "in.csv", [{"label": "a text\nof two lines"}] * 2)
    scores = write_scores(tmp_path / "s", source, ["another\none"] * 2, keep=["label"])
    measured(tmp_path / "e", scores, "--label", "label", "--as", "text-generation")
    page = (tmp_path / "e" / "evaluation.html").read_text("utf-8").partition("<script")[0]
    assert "a text of two lines" in page
    assert "another one" in page
    assert "u000a" not in page


def test_the_page_says_what_was_measured(tmp_path: Path) -> None:
    page = compared(tmp_path, ["red", "blue"]).read_text("utf-8")
    words = re.sub(r"<[^>]+>|\s+", " ", page.partition("<body>")[2].partition("<script")[0])
    assert "2 requirements not met" in words
    assert "red is" in words or "two is worse than red" in words
    assert "nan" not in words.lower()
    assert "no label found 1, error:timeout 1" in words or "error:timeout 1, no label found 1" in words


def test_the_same_evaluation_gives_the_same_page(tmp_path: Path) -> None:
    first = compared(tmp_path / "a", ["red", "blue"]).read_bytes()
    page = tmp_path / "a" / "e" / "evaluation.html"
    measured_again = compared(tmp_path / "a", ["red", "blue"])
    assert page == measured_again
    assert page.read_bytes() == first


@pytest.mark.parametrize("answers", [[FAILED] * 3, ["x"] * 3, ["a", "a", FAILED]])
@pytest.mark.parametrize("task", ["text-classification", "question-answering", "text-summarization"])
def test_a_page_of_few_rows(tmp_path: Path, task: str, answers: Sequence[Any]) -> None:
    source = write_input(tmp_path / "a.csv", [{"label": each} for each in "aab"])
    scores = write_scores(tmp_path / "s", source, answers, keep=["label"])
    measured(tmp_path / "e", scores, "--label", "label", "--as", task)
    assert "Only 3 rows" in (tmp_path / "e" / "evaluation.html").read_text("utf-8")


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
def test_pages_in_a_browser(tmp_path: Path) -> None:
    eye: list[Any] = [*np.eye(3, dtype=np.float32)] * 3
    rows = [{"id": f"d{n}", "score": str(n % 3)} for n in range(9)]
    one = write_vectors(tmp_path / "v", rows, eye, id_column="id", keep=["score"])
    two = write_vectors(tmp_path / "w", rows, [*eye[:3], *eye[1:6], FAILED], id_column="id", keep=["score"])
    (tmp_path / "qrels").write_text("d1 0 d2 1\nd2 0 d5 1\n", "utf-8")
    measured(tmp_path / "pairs", one, "--pair", two, "--label", "score")
    measured(tmp_path / "ranks", two, "--documents", one, "--qrels", tmp_path / "qrels")
    pages = [compared(tmp_path, [each.replace(",", ";") for each in HOSTILE])]
    pages += [tmp_path / name / "evaluation.html" for name in ("pairs", "ranks")]
    for page, charts in zip(pages, (0, 1, 1), strict=True):
        for seen in look_at(page, [(1280, "light"), (390, "dark")]):
            assert seen.complaints == []
            assert [url for url in seen.requests if not url.startswith(("file:", "data:"))] == []
            # A table of the names of others may be wider than any window.
            assert {**seen.look, "scrolled": []} == {**WELL, "charts": charts}


def test_rows_without_entities_are_not_the_worst(tmp_path: Path) -> None:
    """Of three rows, one has nothing to find, one is right, one failed."""
    labels = ["[]", '[{"text": "Ann", "type": "PER"}]', "[]"]
    source = write_input(tmp_path / "a.csv", [{"label": each} for each in labels])
    scores = write_scores(tmp_path / "s", source, ["[]", "[]", FAILED], keep=["label"])
    measured(tmp_path / "e", scores, "--label", "label", "--as", "token-classification")
    page = (tmp_path / "e" / "evaluation.html").read_text("utf-8")
    listed = page[page.index("Lowest f1_score_micro") :]
    rows = re.findall(r'<bdi>a\.csv</bdi></td><td class="figure">(\d)</td>', listed)
    assert rows == ["1", "2", "0"]


def test_the_table_of_classes_says_which_rows_it_counts(tmp_path: Path) -> None:
    """Rows without an answer count in the metrics, so these are not the means of the table."""
    source = write_input(tmp_path / "a.csv", [{"label": each} for each in "abab"])
    for name, answers in (("some", ["a", "b", "a", FAILED]), ("all", ["a", "b", "a", "a"])):
        scores = write_scores(tmp_path / name, source, answers, keep=["label"])
        measured(tmp_path / "e", scores, "--label", "label", "--require", "accuracy>=0.9")
        page = (tmp_path / "e" / "evaluation.html").read_text("utf-8")
        assert ("precision and F1 of the answers alone" in page) == (name == "some")
        assert '<li class="bad">accuracy&gt;=0.9: ' in page
        assert '<li class="fact">This set has too few rows' in page


def test_right_numbers_are_not_furthest_from_their_labels(tmp_path: Path) -> None:
    source = write_input(tmp_path / "a.csv", [{"label": each} for each in "1234"])
    scores = write_scores(tmp_path / "s", source, ["1", "9", "3", "4"], keep=["label"])
    measured(tmp_path / "e", scores, "--label", "label", "--as", "regression")
    listed = (
        (tmp_path / "e" / "evaluation.html").read_text("utf-8").partition("furthest from their labels")[2]
    )
    assert re.findall(r'<bdi>a\.csv</bdi></td><td class="figure">(\d)</td>', listed) == ["1"]


def test_a_figure_that_is_not_known_is_neither_better_nor_best(tmp_path: Path) -> None:
    source = write_input(tmp_path / "a.csv", [{"label": str(n)} for n in range(30)])
    answers = {"small": [str(n + 3 + n % 2) for n in range(30)], "large": [str(n) for n in range(29)]}
    answers["large"].append(FAILED)
    made = [write_scores(tmp_path / name, source, each, keep=["label"]) for name, each in answers.items()]
    measured(tmp_path / "e", *made, "--names", "small,large", "--label", "label", "--as", "regression")
    page = (tmp_path / "e" / "evaluation.html").read_text("utf-8").partition("<h2>How rows ended")[0]
    words = re.sub(r"<[^>]+>", " ", page.partition("<body>")[2])
    assert "mean_absolute_error 3.5000: small" in words
    assert "not known" in words
    assert "better " not in words.partition("excludes 0")[2]


def test_no_model_is_named_if_none_has_a_figure(tmp_path: Path) -> None:
    rows = [{"label": "ein Haus"}, {"label": "ein Tag"}]
    source = write_input(tmp_path / "in.csv", rows)
    both = [write_scores(tmp_path / name, source, ["ein Haus", FAILED], keep=["label"]) for name in "ab"]
    measured(tmp_path / "e", *both, "--label", "label", "--as", "translation", "--names", "a,b")
    assert "<h1>chrf not known</h1>" in (tmp_path / "e" / "evaluation.html").read_text("utf-8")


def test_bars_of_slices_are_on_the_scale_of_their_figures(tmp_path: Path) -> None:
    """Errors may be more than 1, and then a bar from 0 to 1 would show none."""
    rows = [{"label": str(n), "shop": "ab"[n % 2]} for n in range(12)]
    source = write_input(tmp_path / "a.csv", rows)
    scores = write_scores(tmp_path / "s", source, [str(2 * n) for n in range(12)], keep=["label", "shop"])
    measured(tmp_path / "e", scores, "--label", "label", "--as", "regression", "--by", "shop")
    slices = (tmp_path / "e" / "evaluation.html").read_text("utf-8").partition("<h2>Slices</h2>")[2]
    found = re.findall(r'class="value" x="([-\d.]+)"', slices)
    assert len(found) == 2
    assert all(0 < float(each) < 99 for each in found)
    assert "by value; bars from 0.0000 to " in slices


def test_bars_of_percentages_end_at_100(tmp_path: Path) -> None:
    pytest.importorskip("sacrebleu")
    texts = [f"the {n}th dog bit the man on Monday" for n in range(8)]
    source = write_input(tmp_path / "a.csv", [{"label": each} for each in texts])
    scores = write_scores(tmp_path / "s", source, [*texts[:4], *["no"] * 4], keep=["label"])
    metrics = measured(tmp_path / "e", scores, "--label", "label", "--as", "text-translation")["models"][0][
        "metrics"
    ]
    page = (tmp_path / "e" / "evaluation.html").read_text("utf-8")
    place, *_ = re.findall(r'class="value" x="([-\d.]+)"', page)
    assert float(place) == pytest.approx(metrics["chrf"]["value"], abs=1)
