"""What two scanners mean by two names: families of rules and classes of weaknesses.

Equal CWE numbers are not enough: of findings on one line by two scanners, under a quarter share
one (measured). Source of the groups: MITRE's CWE view 1003 and the rules' own documentation.
"""

from __future__ import annotations

import re

from pilotage.domain.finding import Finding

_CWE = {
    "command-injection": (77, 78, 88),
    "sql-injection": (89, 564, 943),
    "cross-site-scripting": (79, 80, 83, 87, 116),
    "code-injection": (94, 95, 96, 470),
    "path-traversal": (22, 23, 36, 73),
    "deserialization": (502,),
    "weak-cryptography": (326, 327, 328, 759, 760, 780, 916),
    "weak-randomness": (330, 331, 335, 338),
    "unverified-tls": (295, 297, 319, 757),
    "hard-coded-secret": (259, 321, 522, 798),
    "xml-entities": (91, 611, 776, 827),
    "server-side-request-forgery": (918,),
    "open-redirect": (601,),
    "loose-permissions": (276, 732),
    "temporary-file": (377, 378, 379),
    "request-forgery": (352,),
    "debug-mode": (215, 489),
    "slow-expression": (400, 730, 1333),
}
_CLASS_OF_CWE = {cwe: name for name, cwes in _CWE.items() for cwe in cwes}

# Bandit's numbers, which flake8-bandit and with it ruff's S rules share.
_BANDIT = {
    "command-injection": (602, 603, 604, 605, 606, 607, 609),
    "sql-injection": (608, 610, 611),
    "cross-site-scripting": (308, 701, 702, 703, 704),
    "code-injection": (102, 307),
    "path-traversal": (202,),
    "deserialization": (301, 302, 506, 614),
    "weak-cryptography": (303, 304, 305, 324, 505),
    "weak-randomness": (311,),
    "unverified-tls": (321, 323, 402, 501, 502, 503, 504, 507),
    "hard-coded-secret": (105, 106, 107),
    "xml-entities": (313, 314, 315, 316, 317, 318, 319, 320, 405, 406, 407, 408, 409, 410, 411),
    "server-side-request-forgery": (310,),
    "loose-permissions": (103,),
    "temporary-file": (108, 306),
    "debug-mode": (201,),
}
_CLASS_OF_BANDIT = {number: name for name, numbers in _BANDIT.items() for number in numbers}
_BANDIT_RULE = {"bandit": re.compile(r"B(\d{3})\b"), "ruff": re.compile(r"S(\d{3})\b")}
_SAME_AS_BANDIT = {
    ("pylint", "eval-used"): 307, ("pylint", "W0123"): 307,
    ("pylint", "exec-used"): 102, ("pylint", "W0122"): 102,
    ("pylint", "try-except-pass"): 110, ("pylint", "subprocess-popen-preexec-fn"): 602,
}  # fmt: skip


def family(finding: Finding) -> str:
    """The rule itself, under one name where several scanners share it."""
    number = _bandit_number(finding)
    return f"bandit-{number}" if number is not None else f"{finding.scanner}:{finding.rule}"


def weakness(finding: Finding) -> str:
    """The class of weakness, or empty where neither the rule nor a CWE tells it."""
    number = _bandit_number(finding)
    if number is not None and number in _CLASS_OF_BANDIT:
        return _CLASS_OF_BANDIT[number]
    classes = [_CLASS_OF_CWE[cwe] for cwe in finding.cwe if cwe in _CLASS_OF_CWE]
    return classes[0] if classes else ""


def _bandit_number(finding: Finding) -> int | None:
    pattern = _BANDIT_RULE.get(finding.scanner)
    if pattern is None:
        return _SAME_AS_BANDIT.get((finding.scanner, finding.rule))
    match = pattern.match(finding.rule)
    return int(match[1]) if match else None
