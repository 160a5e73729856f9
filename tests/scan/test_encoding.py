"""Text is text to scanners, whatever it is written in; so is a passage in another encoding."""

from __future__ import annotations

import pytest

from pilotage.scan.encoding import as_text, as_utf8

TEXT = "a: 1  # nosec\nname: 安全 😀\n"
KEY = "AKIA" + "Q3EGRJZX6WVTNP2K"
WIDE = ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"]
PLAIN = "a line of plain text\n" * 500


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_text_with_a_mark_becomes_utf8(encoding: str) -> None:
    assert as_utf8(f"\ufeff{TEXT}".encode(encoding)).decode() == TEXT


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_text_without_a_mark_becomes_utf8_too(encoding: str) -> None:
    assert as_utf8("key = value\n".encode(encoding)) == b"key = value\n"


@pytest.mark.parametrize("data", [b"", b"\0", b"a\0b", b"\xff\xfe\0", bytes(1000), TEXT.encode(),
                                  b"\x7fELF\2\1\1\0" + bytes(8), bytes(range(256))])  # fmt: skip
def test_other_bytes_stay_or_are_at_least_kept(data: bytes) -> None:
    assert as_utf8(data) == data or data.startswith(b"\xff\xfe")


def test_a_broken_place_hides_nothing_else() -> None:
    assert b"key" in as_utf8(b"\xff\xfe\0\0" + "key".encode("utf-16-le") + b"\x00\xd8")


@pytest.mark.parametrize("encoding", WIDE)
@pytest.mark.parametrize(("before", "after"), [("", ""), ("x\n", "\ny"), ("x", "y"), ("=", ";")])
def test_wide_letters_amid_bytes_are_words_of_their_own(
    encoding: str, before: str, after: str
) -> None:
    wide = KEY.encode(encoding)
    said = as_utf8(PLAIN.encode() + before.encode() + wide + after.encode() + PLAIN.encode())
    assert KEY in said.decode().replace("\n", " ").replace("=", " ").replace(";", " ").split()


@pytest.mark.parametrize("encoding", WIDE)
def test_lines_stay_the_lines_that_they_were(encoding: str) -> None:
    wide = f"one\nkey = {KEY}\nthree\n".encode(encoding)
    said = as_utf8(PLAIN.encode() + wide + b"the end\n").decode().split("\n")
    assert said[501].strip() == f"key = {KEY}"
    assert said[503].endswith("the end")


@pytest.mark.parametrize("mark", [b"\xff\xfe", b"\xfe\xff", b""])
@pytest.mark.parametrize("odd", [b"", b"x", b"\x80"])
def test_a_mark_or_a_beginning_in_utf16_hides_nothing_in_plain_bytes(
    mark: bytes, odd: bytes
) -> None:
    encoding = "utf-16-be" if mark == b"\xfe\xff" else "utf-16-le"
    begun = mark + PLAIN.encode(encoding) + odd
    said = as_utf8(begun + f"key = {KEY}\n".encode())
    assert KEY in said.decode().split()
    assert PLAIN in said.decode()


@pytest.mark.parametrize("other", ["utf-16-le", "utf-16-be"])
def test_a_mark_does_not_hide_text_that_is_not_what_it_says(other: str) -> None:
    mark = b"\xff\xfe" if other == "utf-16-be" else b"\xfe\xff"
    assert KEY in as_utf8(mark + f"key = {KEY}\n".encode(other)).decode().split()
    assert KEY in as_utf8(mark + b"x" + f"key = {KEY} \n".encode(other)).decode().split()


def test_text_in_other_scripts_stays_as_it_is() -> None:
    text = "设置文件：密码由环境变量给出，不要写在这里。\nПароль — в окружении.\n" * 50
    for encoding in ("utf-16", "utf-16-le", "utf-32"):
        assert as_utf8(("key = value\n" * 900 + text).encode(encoding)).decode().endswith(text)


def test_what_a_zero_byte_ends_is_a_word_of_its_own() -> None:
    said = as_text(b"\x7fELF\0\1\0name\0" + KEY.encode() + b"\0next\0\0\0")
    assert b"\0" not in said
    assert KEY.encode() in said.split()
