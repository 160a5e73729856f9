"""What a slug looks like."""

import pytest
from slugs import slug


@pytest.mark.parametrize(
    ("title", "expected"),
    [("Hello, world", "hello-world"), ("Crème brûlée", "creme-brulee"), ("", "")],
)
def test_slug(title, expected):
    """Words, accents and nothing at all."""
    assert slug(title) == expected
