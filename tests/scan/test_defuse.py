"""Words that ask a scanner to look away lose their power; every line and column stays."""

from __future__ import annotations

import time
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotage.scan.defuse import defuse

WORDS = [
    ("x()  # nosec", "nosec", ""),
    ("x()  # nosec B602 - input is constant", "nosec B602", "input is constant"),
    ("x()  #NOSEC trusted input", "NOSEC", "trusted input"),
    ("x()  # noqa: S101,E501", "noqa S101 E501", ""),
    ("# ruff: noqa", "noqa", ""),
    ("# flake8: noqa", "noqa", ""),
    ("# ruff: disable[S101]", "ruff: disable S101", ""),
    ("# pylint: skip-file", "pylint: skip-file", ""),
    ("# pylint:   disable=eval-used,fixme  # old code",
     "pylint:   disable eval-used fixme", "old code"),
    ("// eslint-disable-next-line no-eval, eqeqeq -- trusted",
     "eslint-disable-next-line no-eval eqeqeq", "trusted"),
    ("/* eslint-disable */", "eslint-disable", ""),
    ("f() // eslint-disable-line no-eval", "eslint-disable-line no-eval", ""),
    ('/* eslint no-eval: "off" */', "eslint no-eval off", ""),
    ("key = 1 # gitleaks:allow", "gitleaks:allow", ""),
    ("key = 1 # betterleaks:allow", "betterleaks:allow", ""),
    ("key = 1 # trufflehog:ignore", "trufflehog:ignore", ""),
    ("#trivy:ignore:*", "trivy:ignore *", ""),
    ("# trivy:ignore:AVD-AWS-0001 public by design",
     "trivy:ignore AVD-AWS-0001", "public by design"),
    ("#tfsec:ignore:aws-s3-no-public", "tfsec:ignore aws-s3-no-public", ""),
    ("#checkov:skip=CKV_AWS_20:public by design", "checkov:skip CKV_AWS_20", "public by design"),
    ("#bridgecrew:skip=CKV_AWS_20", "bridgecrew:skip CKV_AWS_20", ""),
    ("    checkov.io/skip1: CKV_K8S_20=needed", "checkov.io/skip1 CKV_K8S_20", "needed"),
    ("# hadolint ignore=DL3008,DL3009", "hadolint ignore DL3008 DL3009", ""),
    ("# hadolint global ignore=DL3008", "hadolint global ignore DL3008", ""),
    ("- uses: a/b@v1 # zizmor: ignore[unpinned-uses] ours", "zizmor: ignore unpinned-uses", "ours"),
    ("// nosemgrep: rule.id.x", "nosemgrep rule.id.x", ""),
    ("// nosem", "nosem", ""),
    ("password = 'x'  # pragma: allowlist secret", "pragma: allowlist", "secret"),
    ("# pragma: whitelist nextline secret", "pragma: whitelist nextline", "secret"),
    ("# shellcheck disable=SC2086", "shellcheck disable SC2086", ""),
    ("x = 1; // NOSONAR", "NOSONAR", ""),
]  # fmt: skip


@pytest.mark.parametrize(("line", "word", "reason"), WORDS)
def test_each_word_is_defused_and_recorded_with_its_rules_and_reason(
    line: str, word: str, reason: str
) -> None:
    data = f"first\n{line}\r\nlast".encode()
    safe, found = defuse("f", data)
    assert len(safe) == len(data)
    assert sum(a != b for a, b in zip(safe, data, strict=True)) == 1
    assert [(s.path, s.line, s.word, s.reason) for s in found] == [("f", 2, word, reason)]
    assert defuse("f", safe) == (safe, ())


@pytest.mark.parametrize(
    "text",
    ["time.sleep(nanoseconds)", "pylint = 3", "pip install pylint eslint ruff", "checkov: 3.2",
     "ruff check .", "pragma: no cover", "# type: ignore", "hadolint Dockerfile",
     "#pragma once", "run: pylint src", "const eslint = require('eslint')"],
)  # fmt: skip
def test_other_words_stay(text: str) -> None:
    assert defuse("f", text.encode()) == (text.encode(), ())


def test_a_template_cannot_ask_in_its_metadata() -> None:
    template = (
        b"Resources:\n  B:\n    Type: AWS::S3::Bucket\n    Metadata:\n"
        b"      checkov:\n        skip:\n          - id: CKV_AWS_18\n"
        b"      cfn_nag:\n        rules_to_suppress: []\n"
    )
    safe, found = defuse("t.yaml", template)
    assert b"checkov:" not in safe
    assert b"cfn_nag:" not in safe
    assert [s.line for s in found] == [5, 8]


def test_a_nul_byte_does_not_make_source_binary() -> None:
    safe, found = defuse("a.js", b"/*\0*/ eval(x) // eslint-disable-line")
    assert b"eslint-disable" not in safe
    assert len(found) == 1


def test_an_archive_is_not_broken() -> None:
    packed = b"\x1f\x8b\x08\x00" + zlib.compress(b"x") + b"# nosec"
    assert defuse("a.gz", packed) == (packed, ())


def test_what_is_recorded_is_safe_to_print() -> None:
    _, found = defuse("f", b"# nosec \x1b[31m because\x07")
    assert found[0].reason.isprintable()
    _, found = defuse("f", b"# nosec \xff\xfe")
    found[0].reason.encode()


@pytest.mark.parametrize("hostile", [b"pylint:", b"/* ", b"pragma: ", b"nosec", b"hadolint ",
                                     b"checkov\n:", b"# nosec\n", b" "])  # fmt: skip
def test_no_content_takes_long(hostile: bytes) -> None:
    data = hostile * ((4 << 20) // len(hostile))
    began = time.process_time()
    safe, found = defuse("f", data)
    assert time.process_time() - began < 30
    assert len(safe) == len(data)
    assert len(found) <= 1001


@given(
    st.lists(
        st.one_of(
            st.sampled_from([w.encode() for w, _, _ in WORDS]),
            st.sampled_from([b"\n", b" ", b"\0", b"# ", b"/*", b"*/"]),
            st.binary(max_size=8),
        ),
        max_size=12,
    )
)
def test_whatever_the_bytes_lengths_and_lines_hold_and_a_second_pass_finds_nothing(
    parts: list[bytes],
) -> None:
    data = b"".join(parts)
    safe, found = defuse("f", data)
    assert len(safe) == len(data)
    assert [i for i, c in enumerate(safe) if c == 10] == [i for i, c in enumerate(data) if c == 10]
    assert defuse("f", safe) == (safe, ())
    assert (safe != data) == bool(found)
