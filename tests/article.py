"""What tests take from the article that all of this comes from, unchanged."""

from __future__ import annotations

from pathlib import Path

import pytest

SEED = Path(__file__).resolve().parents[2] / "shared" / "seed"


def appendix_c() -> str:
    """The sample manifest of an MCPTool. Skips where the article is not, which fails CI."""
    if not SEED.is_dir():
        pytest.skip("the article lies in ../shared/seed, which is not on this machine")
    text = next(SEED.iterdir()).read_text("utf-8")
    text = text[text.index("mcptool-sample.yaml") :]
    return text[text.index("apiVersion") : text.index("附录 D")]
