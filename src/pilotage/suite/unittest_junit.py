"""Run a project's unittest tests and write JUnit XML: `python unittest_junit.py RESULTS.xml`.

This file runs inside the sandbox under the project's own Python, 3.6 or newer, and imports nothing
of ours. It ends with 0 where all passed, 1 where some did not, 5 where there was none.
"""
# mypy: ignore-errors

import os
import sys
import time
import unittest
from xml.sax.saxutils import escape, quoteattr


class Cases(unittest.TextTestResult):
    """Remembers each test and each subtest that did not pass."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.cases = []
        self.began = time.time()

    def note(self, test, kind="", text=""):
        now = time.time()
        self.cases.append((test.id(), now - self.began, kind, text))
        self.began = now

    def addSuccess(self, test):
        super().addSuccess(test)
        self.note(test)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.note(test, "failure", self.failures[-1][1])

    def addError(self, test, err):
        super().addError(test, err)
        self.note(test, "error", self.errors[-1][1])

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.note(test, "skipped", reason)

    def addExpectedFailure(self, test, err):
        super().addExpectedFailure(test, err)
        self.note(test)

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self.note(test, "failure", "passed, and was expected to fail")

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            kind = "failure" if issubclass(err[0], test.failureException) else "error"
            self.note(subtest, kind, self._exc_info_to_string(err, test))


def discover():
    """From the top folder, and where there is nothing, in a folder of tests that is no package."""
    sys.path.insert(0, os.getcwd())
    suite = unittest.defaultTestLoader.discover(".")
    for folder in ("tests", "test"):
        if suite.countTestCases():
            break
        if os.path.isdir(folder):
            loader = unittest.TestLoader()
            suite = loader.discover(folder, top_level_dir=folder)
    return suite


def write(path, cases):
    with open(path, "w", encoding="utf-8", errors="replace") as file:
        file.write("<testsuites><testsuite name='unittest'>\n")
        for name, seconds, kind, text in cases:
            place, _, method = name.rpartition(".")
            words = quoteattr(shown(place)), quoteattr(shown(method)), seconds
            file.write("<testcase classname={} name={} time='{:.3f}'>".format(*words))
            if kind:
                file.write(f"<{kind}>{escape(shown(text))}</{kind}>")
            file.write("</testcase>\n")
        file.write("</testsuite></testsuites>\n")


def shown(text):
    """Characters that XML cannot hold would make the results unreadable."""
    return "".join(c if c in "\n\t" or c.isprintable() else "?" for c in str(text))


if __name__ == "__main__":
    runner = unittest.TextTestRunner(resultclass=Cases, verbosity=2)
    result = runner.run(discover())
    write(sys.argv[1], result.cases)
    sys.exit(0 if result.cases and result.wasSuccessful() else 1 if result.cases else 5)
