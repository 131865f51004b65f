"""Which images a row sends, how they get into its prompt, and what they count."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from batchscore.errors import ErrorCode, InputError, UsageError
from batchscore.prompts import images as prompt_images
from batchscore.prompts.batches import Packer
from batchscore.prompts.duplicates import Duplicates
from batchscore.prompts.image_header import MOST_IMAGE_BYTES, InvalidImage, image_header, image_tokens
from batchscore.prompts.prompt import builder_for, parse_spec
from batchscore.prompts.token_estimate import Estimator
from batchscore.prompts.truncate import truncate
from batchscore.rows import Prompt, Row, RowError, Settled, Table
from batchscore.settings.fields import Settings
from batchscore.settings.slices import PromptSettings, cut
from pictures import ANIMATED, KINDS, as_url, png

PNG = KINDS["png"]
GIF = b"GIF89a\1\0\1\0\0\0\0," + bytes(9) + b"\2"
URL = "https://a.blob.core.windows.net/c/a.png?sig=SECRET"


@pytest.mark.parametrize("kind", KINDS)
def test_the_header_of_each_kind_is_read(kind: str) -> None:
    found = image_header(KINDS[kind])
    assert (found.kind, found.width, found.height) == (kind.partition(",")[0], 6, 4)


@pytest.mark.parametrize(
    ("start", "pieces", "end"),
    [
        (GIF, (b"\xff" + bytes(255), 78_000), b"\0;"),
        (PNG[:33], (b"\0\0\x03\xe8IDAT" + bytes(1004), 19_700), PNG[-12:]),
    ],
)
def test_the_largest_images_are_read_in_the_smallest_pieces_that_encoders_write(
    start: bytes, pieces: tuple[bytes, int], end: bytes
) -> None:
    data = start + pieces[0] * pieces[1] + end
    assert len(data) > 0.99 * MOST_IMAGE_BYTES
    assert image_header(data)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_image_is_never_taken_for_a_whole_one(kind: str) -> None:
    data = KINDS[kind]
    # Only the padding of a WebP chunk and the last byte of a marker may be missing.
    for end in range(len(data) - 1):
        with pytest.raises(InvalidImage):
            image_header(data[:end])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (
            PNG[:33] + b"\0\0\0\0teXt\0\0\0\0" * 20_000 + PNG[33:],
            "it is divided into more than 20,000 pieces",
        ),
        (b"\xff\xd8\xff" + b"\xff" * 20_000, "it is divided into more than 20,000 pieces"),
        (b"\xff\xd8" + b"\xff\xe0\0\2" * 20_001, "it is divided into more than 20,000 pieces"),
        (GIF + b"\1x" * 100_000, "it is divided into more than 100,000 pieces"),
        (GIF[:13] + b"!\xfe\0" * 100_001, "it is divided into more than 100,000 pieces"),
        (b"", "it is empty"),
        (b"hello", "it is no PNG, JPEG, WebP or GIF"),
        (b"%PDF-1.7", "it is a PDF file, no PNG, JPEG, WebP or GIF"),
        (b"\0\0\0\x18ftypheic", "it is a HEIC or AVIF file, no PNG, JPEG, WebP or GIF"),
        (PNG[:16] + bytes(4) + PNG[20:], "it has no pixels"),
        (ANIMATED, "it is an animated GIF"),
        (PNG.replace(b"IDAT", b"iDAT"), "it is cut off or damaged"),
        (b"\x89PNG\r\n\x1a\n" + b"\xff" * 40, "it is cut off or damaged"),
        (b"\xff\xd8\xff" + b"\xff" * 40, "it is cut off or damaged"),
    ],
)
def test_other_bytes_are_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(InvalidImage) as caught:
        image_header(data)
    assert str(caught.value) == reason


@pytest.mark.parametrize(
    ("size", "model", "detail", "tokens"),
    [
        # The examples of OpenAI's page, and counts that the service billed (community.openai.com/t/1281361).
        ((1024, 1024), "gpt-4o", "high", 765),
        ((2048, 4096), "gpt-4o", "auto", 1105),
        ((4096, 8192), "gpt-4o", "low", 85),
        ((128, 64), "gpt-4.1", "high", 255),
        ((2049, 513), "gpt-4.1", "high", 1445),
        ((2050, 513), "gpt-4.1", "high", 765),
        ((128, 64), "gpt-4o-mini", "low", 2833),
        ((128, 64), "gpt-4o-mini-2024-07-18", "high", 8500),
        ((128, 64), "o3-2025-04-16", "high", 225),
        ((512, 512), "gpt-5", "high", 210),
        ((1024, 1024), "gpt-4.1-mini", "low", 1659),
        ((1800, 2400), "gpt-4.1-mini", "high", 2353),
        ((1800, 2400), "gpt-5-nano", "high", 3572),
        ((1800, 2400), "openai/o4-mini", "high", 2498),
        ((1, 100_000), "gpt-41-nano", "high", 3779),
        ((64, 64), "llava", "auto", 255),
    ],
)
def test_tokens_follow_the_published_rules(
    size: tuple[int, int], model: str, detail: str, tokens: int
) -> None:
    assert image_tokens(*size, model, detail) == tokens


def built(
    values: Mapping[str, Any], read_file: Any = None, *, columns: tuple[str, ...] = (), **more: Any
) -> Prompt | Settled:
    given: dict[str, Any] = {"task": "chat", "image": ("photo",), "prompt": "Describe", **more}
    settings = Settings(model="gpt-4o", output="o", **given)
    texts = tuple(name for name, cell in values.items() if isinstance(cell, str))
    table = Table(columns or tuple(values), texts, headerless=False, rows=iter(()))
    spec = parse_spec(cut(PromptSettings, settings))
    return builder_for(table, spec, read_file=read_file).build(Row("f", 0, values))


def body(*args: Any, **more: Any) -> Any:
    prompt = built(*args, **more)
    assert isinstance(prompt, Prompt), prompt
    return orjson.loads(prompt.body)


def error(*args: Any, **more: Any) -> RowError:
    settled = built(*args, **more)
    assert isinstance(settled, Settled)
    assert isinstance(settled.result, RowError)
    return settled.result


CHAT_TEXT = {"type": "text", "text": "Describe"}


def test_an_image_follows_the_text_of_a_chat_message() -> None:
    image = {"type": "image_url", "image_url": {"url": as_url(PNG)}}
    assert body({"photo": PNG}) == [{"role": "user", "content": [CHAT_TEXT, image]}]
    low = {"type": "image_url", "image_url": {"url": URL, "detail": "low"}}
    assert body({"photo": URL}, image_detail="low") == [{"role": "user", "content": [CHAT_TEXT, low]}]


def test_an_image_follows_the_text_of_a_responses_item() -> None:
    parts = [
        {"type": "input_text", "text": "Describe"},
        {"type": "input_image", "image_url": as_url(PNG), "detail": "auto"},
    ]
    sent = body({"photo": PNG}, task="responses", system="Be brief")
    assert sent == {"input": [{"role": "user", "content": parts}], "instructions": "Be brief"}


def test_images_of_several_columns_and_lists_keep_their_order() -> None:
    files = {"a.png": PNG, "b.gif": KINDS["gif"]}
    cells = {"x": '["a.png", "b.gif"]', "y": [KINDS["webp"], [], None], "z": None, "q": "What?"}
    sent = body(cells, files.__getitem__, image=("x", "y", "z"), prompt="{q}")
    assert [part["image_url"]["url"] for part in sent[0]["content"][1:]] == [
        as_url(PNG),
        as_url(KINDS["gif"], "gif"),
        as_url(KINDS["webp"], "webp"),
    ]
    assert sent[0]["content"][0]["text"] == "What?"


def test_an_image_may_be_all_that_is_sent() -> None:
    sent = body({"photo": PNG}, prompt=None, system="Describe")
    assert sent[1] == {"role": "user", "content": [{"type": "image_url", "image_url": {"url": as_url(PNG)}}]}
    with pytest.raises(InputError, match="no column holds text; say with prompt"):
        built({"photo": "a.png"}, prompt=None)


def test_the_column_of_paths_is_not_taken_for_the_text() -> None:
    sent = body({"photo": URL, "question": "How many?"}, prompt=None)
    assert sent[0]["content"][0]["text"] == "How many?"


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": "first"}, {"role": "assistant", "content": "a"}],
        [{"role": "user", "content": [{"type": "text", "text": "first"}]}],
        [{"role": "system", "content": "s"}],
    ],
)
def test_an_image_joins_the_last_message_of_the_user(messages: list[dict[str, Any]]) -> None:
    sent = body({"photo": PNG}, prompt=None, messages=orjson.dumps(messages).decode())
    last = next(one for one in reversed(sent) if one["role"] == "user")
    assert last["content"][-1] == {"type": "image_url", "image_url": {"url": as_url(PNG)}}
    assert len(sent) == len(messages) + (messages[0]["role"] == "system")


def test_no_text_can_take_the_place_of_an_image() -> None:
    """An image's bytes are put into the JSON in place of a mark, which each process chooses for itself."""
    text = f'"{prompt_images._MARK[:31]}'
    sent = body({"photo": PNG, "q": text}, prompt="{q}")
    assert sent[0]["content"][0]["text"] == text


@pytest.mark.parametrize(
    "cell",
    [PNG, bytearray(PNG), memoryview(PNG), as_url(PNG), as_url(PNG, "jpg"), {"bytes": PNG, "path": "x"}],
)
def test_every_form_of_bytes_is_an_image(cell: Any) -> None:
    sent = body({"photo": cell})
    assert sent[0]["content"][1]["image_url"]["url"] == as_url(PNG)


def missing(name: Any) -> bytes:
    raise FileNotFoundError(2, "there is no such file")


@pytest.mark.parametrize(
    ("cell", "code", "reason"),
    [
        (None, ErrorCode.EMPTY_INPUT, "no image"),
        ("", ErrorCode.EMPTY_INPUT, "no image"),
        ([], ErrorCode.EMPTY_INPUT, "no image"),
        (float("nan"), ErrorCode.EMPTY_INPUT, "no image"),
        ("secret.png", ErrorCode.UNREADABLE_IMAGE, "there is no such file"),
        (
            "secret\\a.png",
            ErrorCode.UNREADABLE_IMAGE,
            "no such file; write / for the backslashes",
        ),
        (
            base64.b64encode(PNG * 9).decode(),
            ErrorCode.UNREADABLE_IMAGE,
            "it is base64 alone; write data:image/png;",
        ),
        ('["a.png",', ErrorCode.UNREADABLE_IMAGE, "neither a file nor a list in valid JSON"),
        (b"secret", ErrorCode.UNREADABLE_IMAGE, "it is no PNG"),
        (PNG[:40], ErrorCode.UNREADABLE_IMAGE, "it is cut off"),
        pytest.param(
            lambda: png(more=20_000_000), ErrorCode.UNREADABLE_IMAGE, "it is larger than 20 MB", id="large"
        ),
        ("file:///secret", ErrorCode.UNREADABLE_IMAGE, "its address is not one of http, https or data"),
        ("s3://secret/a.png", ErrorCode.UNREADABLE_IMAGE, "its address is not one of http, https or data"),
        ("https://", ErrorCode.UNREADABLE_IMAGE, "its address is not one of"),
        ("https://a/secret b", ErrorCode.UNREADABLE_IMAGE, "its address is not valid"),
        ("https://a/" + "x" * 9000, ErrorCode.UNREADABLE_IMAGE, "its address is not valid"),
        ("data:image/png,secret", ErrorCode.UNREADABLE_IMAGE, "its data URL is not in base64"),
        (
            "data:image/png;base64,secret!",
            ErrorCode.UNREADABLE_IMAGE,
            "the base64 of its data URL is damaged",
        ),
        ([PNG, "secret"], ErrorCode.UNREADABLE_IMAGE, "there is no such file"),
        ([URL] * 501, ErrorCode.UNREADABLE_IMAGE, "more than 500 images"),
        pytest.param(
            lambda: [png(more=15_000_000)] * 3,
            ErrorCode.UNREADABLE_IMAGE,
            "larger than 50 MB together",
            id="large together",
        ),
        ({"bytes": None, "path": None}, ErrorCode.EMPTY_INPUT, "no image"),
        ({"secret": 1}, ErrorCode.UNREADABLE_IMAGE, "it is neither a path, an address nor bytes"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_cell_without_a_usable_image_is_the_error_of_its_row(
    cell: Any, code: ErrorCode, reason: str
) -> None:
    found = error({"photo": cell() if callable(cell) else cell}, missing)
    assert found.code is code
    assert reason in found.message
    assert "secret" not in found.message


def test_a_row_without_the_column_says_so() -> None:
    assert error({"q": "x"}, columns=("q", "photo")).code is ErrorCode.MISSING_COLUMN


def test_rows_that_may_not_name_files_never_open_one(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(PNG)
    for cell in (str(file), file):
        assert "may not name files here" in error({"photo": cell}).message


@pytest.mark.parametrize("text", ["a", "", None])
@pytest.mark.parametrize("photo", [PNG, [PNG, URL], b"", "a.png", b"hello", object()], ids=range(6))
def test_the_digest_of_what_is_sent_is_that_of_what_a_later_run_finds(text: object, photo: object) -> None:
    values = {"photo": photo, "text": text}
    table = Table(tuple(values), ("text",), headerless=False, rows=iter(()))
    settings = Settings(task="chat", model="m", output="o", image=("photo",), column="text")
    builder = builder_for(table, parse_spec(cut(PromptSettings, settings)), read_file=missing)
    found: list[bytes] = []
    builder.build(Row("f", 0, values), found.append)
    assert b"".join(found) == builder.digest_of_images(Row("f", 0, values))


def test_an_empty_text_is_an_empty_row_also_with_an_image() -> None:
    assert error({"photo": PNG, "q": " "}, prompt="{q}").code is ErrorCode.EMPTY_INPUT


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"task": "embeddings"}, "image is for task chat or responses, not embeddings"),
        ({"image": ("a", "a")}, "image names a column twice"),
        ({"image_detail": "big"}, "image_detail must be one of auto, low, high"),
    ],
)
def test_settings_that_no_request_could_hold_are_refused(more: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Settings(**{"task": "chat", "model": "m", "output": "o", "image": ("a",), **more})


def test_only_the_text_counts_by_its_bytes() -> None:
    prompt = built({"photo": png(1024, 1024, more=100_000)})
    assert isinstance(prompt, Prompt)
    assert prompt.image_tokens == 765
    estimator = Estimator()
    text = len(prompt.body) - prompt.image_bytes
    assert text < 200
    assert estimator.tokens_of([prompt], len(prompt.body)) == pytest.approx(estimator.tokens(text) + 765)
    # A model with other rules: estimates follow what the service bills, and those of texts stay.
    for _ in range(50):
        estimator.learn_from([prompt], len(prompt.body), 3060 + round(estimator.tokens(text)), 10)
    assert estimator.ratio == Estimator().ratio
    assert estimator.tokens_of([prompt], len(prompt.body)) == pytest.approx(3060, rel=0.1)
    assert estimator.usual_answer == 10


def test_a_long_text_is_cut_and_the_image_stays() -> None:
    prompt = built({"photo": PNG, "q": "word " * 100}, prompt="{q}")
    assert isinstance(prompt, Prompt)
    shorter = truncate(prompt, 0.5)
    assert shorter is not None
    assert shorter.image_bytes == prompt.image_bytes
    content = orjson.loads(shorter.body)[0]["content"]
    assert len(content[0]["text"]) < 300
    assert content[1]["image_url"]["url"] == as_url(PNG)


def test_duplicates_that_wait_do_not_hold_their_images() -> None:
    prompts = [built({"photo": PNG}) for _ in range(3)]
    for row, prompt in enumerate(prompts):
        prompt.row = row
    packer = Packer(iter(prompts), 1, Estimator(), duplicates := Duplicates())
    assert len(packer.take().prompts) == 1
    packer.take()
    (waiting,) = duplicates.following.values()
    assert [each.body for each in waiting] == [b"", b""]


def test_paths_may_be_objects() -> None:
    seen: list[str] = []

    def read(name: str | os.PathLike[str]) -> bytes:
        seen.append(os.fspath(name))
        return PNG

    assert body({"photo": Path("a.png")}, read)
    assert seen == ["a.png"]
