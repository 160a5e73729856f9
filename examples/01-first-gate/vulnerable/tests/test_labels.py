"""Tests of the labels."""

import unittest

from tracker import labels


class Labels(unittest.TestCase):
    """What stands on a label."""

    def test_a_label_shows_number_and_town(self):
        """Both are needed to deliver."""
        page = labels.label({"number": "P-1", "town": "Ulm"})
        self.assertIn("P-1", page)
        self.assertIn("Ulm", page)
