"""What a sentence asks of a model that no description of a tool needs to ask.

A rule is a chain: its first pattern, then each next one within so many characters of the one
before. No pattern has an unbounded gap, so the time is linear in the text whatever it holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

SENTENCE = 400
"""Longer sentences are cut into pieces of this many characters, which overlap by half."""


class Sign(NamedTuple):
    """One thing that counts: of what kind, how much, and why in a few words."""

    kind: str
    points: int
    why: str


@dataclass(frozen=True, slots=True)
class _Rule:
    kind: str
    points: int
    why: str
    steps: tuple[tuple[re.Pattern[str], int], ...]
    unless: re.Pattern[str] | None = None


def _words(*alternatives: str) -> re.Pattern[str]:
    return re.compile(r"(?<!\w)(?:" + "|".join(alternatives) + r")(?!\w)")


_NOT = _words(
    "do not", "don'?t", "does not", "never", "must ?n[o']t", "should ?n[o']t", "shall not", "may not",
    "cannot", "can't", "no need", "not necessary", "avoid", "refrain from", "without", "make no",
    "making no", "is not to", "are not to", "not to", "without ever",
)  # fmt: skip
_TELL = _words(
    "tell", "telling", "told", "inform", "informing", "informed", "mention", "mentioning",
    "mentioned", "notify", "notifying", "alert", "alerting", "admit", "acknowledge", "know",
    "notice", "warn", "reveal this", "reveal it", "reveal that", "disclose this", "disclose it",
    "disclose that", "show this", "show it", "say anything", "say so", "reference to", "talk about",
    "let on", "explain this", "report this", "bring up", "discuss this", "discuss it",
)  # fmt: skip
_PERSON = _words(
    "user", "users", "user's", "human", "person", "people", "operator", "customer", "owner",
    "anyone", "anybody", "them", "they", "him", "her", "client",
)  # fmt: skip
_ASKING = _words(
    "asking", "confirmation", "permission", "approval", "telling", "informing", "consent"
)
_UNDO = _words(
    "ignore", "ignoring", "disregard", "disregarding", "forget", "override", "overrides", "overrule",
    "bypass", "set aside", "setting aside", "stop following", "do not follow", "don'?t follow",
    "no longer bound", "no longer follow", "discard", "drop", "supersedes?", "takes? precedence over",
    "take priority over", "takes priority over", "neglect", "overwrite", "break free",
)  # fmt: skip
_EARLIER = _words(
    "previous", "previously", "prior", "earlier", "above", "preceding", "existing", "original",
    "all", "your", "you", "system", "developer'?s?", "former", "other", "safety", "initial", "any prior",
    "its", "current", "default",
)  # fmt: skip
_ORDERS = _words(
    "instructions?", "guidelines?", "guardrails?", "rules?", "prompts?", "directives?", "constraints?",
    "polic(?:y|ies)", "restrictions?", "everything", "orders", "training", "programming", "budget",
    "context",
)  # fmt: skip
_ABOVE = _words("everything above", "all of the above", "everything before", "what you were told")
_VOID = _words("void", "replaced", "null", "cancelled", "superseded", "obsolete", "no longer valid")
_FILES = re.compile(
    r"~/\.ssh|\.ssh\b|\bid_(?:rsa|ed25519|ecdsa|dsa)|ssh_id_rsa|\.aws/|\.netrc\b|\.kube/|kubeconfig"
    r"|\.config/gh|/etc/(?:passwd|shadow)|\bmcp\.json|claude_desktop_config|\.npmrc\b|\.pypirc\b"
    r"|\.git-credentials|\.docker/config|authorized_keys|_history\b|\.gnupg|\bkeychain|wallet\.dat"
    r"|seed phrases?\b|\.env\b(?!\.example)|\.bashrc|\.zshrc|\.profile\b|\.pgpass|\.vault-token"
)
_SECRETS = _words(
    r"api[ _-]?keys?", "passwords?", "passphrases?", "credentials?", "private keys?", "ssh keys?",
    "secret keys?", "secrets?", r"(?:\w{1,20} )?tokens?", "cookies", "environment variables",
    "env vars", "keys", "shell history", "session ids?", "card numbers?",
)  # fmt: skip
_TALK = _words(
    "system prompt", "(?:chat|conversation|message|messages) history", "transcript",
    "(?:full|entire|whole|complete|current) (?:conversation|chat|dialogue|context|session)",
    "previous messages", "last (?:ten|few|[0-9]+) messages", "(?:summary of the )?(?:chat|conversation)",
    "everything (?:that )?(?:the user|was|you|they) ?(?:has |have |had )?(?:said|wrote|written|typed|told)",
    "what(?:ever)? the user (?:wrote|types|typed|writes|said|says)", "later messages of the user",
    "every message(?: body)?", "your (?:instructions|configuration|memory)",
    "everything that was said", "what was said",
)  # fmt: skip
_WHOLE_TALK = _words(
    "your system prompt",
    "(?:full|entire|whole|complete|verbatim) (?:\\w+ ){0,2}(?:conversation|chat|transcript|dialogue|history)",
    "verbatim transcript",
    "everything (?:that )?(?:the user|was) (?:has |have |had )?(?:said|written|typed|told)(?: so far)?",
    "word for word",
)  # fmt: skip
_TAKE = _words(
    "read", "open", "fetch", "load", "include", "attach", "append", "pass", "provide", "supply",
    "put", "insert", "paste", "copy", "copied", "send", "forward", "transmit", "transmitted",
    "upload", "post", "email", "e-mail", "mail", "hand", "dump", "exfiltrate", "share", "give",
    "fill in", "obtain", "retrieve", "collect", "cat", "get", "add", "extract", "leak", "submit",
    "must hold", "must contain", "sent", "steal", "grab", "look in", "needs?", "also reads?", "is read",
    "are sent", "is sent", "were read", "all",
)  # fmt: skip
_GIVE = _words(
    "include", "attach", "append", "pass", "provide", "supply", "put", "insert", "paste", "send",
    "forward", "transmit", "upload", "hand (?:over|out)", "dump", "exfiltrate", "share", "give",
    "fill in", "copy", "leak", "submit", "email", "needs to read", "must hold", "sent", "out the",
    "hand", "have you", "has to",
)  # fmt: skip
_WHOSE = _words(
    "the user'?s", "of the (?:current )?user", "users'", "the user has", "you have seen", "of the process",
    "that you were configured with", "the user(?: up to now)?", "from the environment", "all", "any",
    "their", "your",
)  # fmt: skip
_SINK = re.compile(
    r"\b(?:in|into|as|to|on)\s+(?:the |a |its )?[`'\"][\w.-]{1,40}[`'\"]|\b(?:argument|parameter|field|note|query|request"
    r"|arguments)\b|\bhere\b|\balong\b|\bit here\b|\bwith it\b|\bto (?:this|the) (?:tool|server|greeting|greeter|search"
    r"|cache|operator)\b|\bto us\b|\bas note\b"
)
_SEND = _words(
    "send", "sends", "post", "forward", "transmit", "transmitted", "upload", "submit", "report", "deliver",
    "email", "e-mail", "mail", "exfiltrate", "sent", "copy", "call", "push", "leak", "goes", "backup",
)  # fmt: skip
_ADDRESS = re.compile(
    r"(?:https?|ftp|wss?)://(?!(?:localhost|127\.0\.0\.1)\b)[^\s)>\"']{3,200}|\b[\w.+-]{1,64}@[\w-]{1,63}\.\w{2,}"
)
_RAW_ADDRESS = re.compile(r"(?:https?|ftp)://\d{1,3}(?:\.\d{1,3}){3}")
_USERS_DATA = _words(
    "user'?s (?:files?|data|messages?|mails?|e-?mails?|input|text|documents?|location|contacts?)",
    "working directory", "workspace", "files of the user", "mails?", "messages?", "conversation", "results",
)  # fmt: skip
_ROLE = re.compile(
    r"(?<!\w)(?:the )?(?:assistant|agent|ai|model|llm|chatbot|claude|gpt)(?:\s*[:,]\s|\s+(?:must|should|has to"
    r"|have to|needs? to|will|shall|is to|is required to|always|never)\b)"
)
_SLY = re.compile(
    r"\b(?:secretly|covertly|stealthily|surreptitiously|(?:silently|quietly|discreetly|unnoticed|behind the scenes),?"
    r"\s+(?:\w+\s+){0,1}(?:add|send|forward|read|copy|call|run|change|upload|include|append|pass|execute|modify"
    r"|replace|delete|collect|store|record)|in secret)\b"
)
_HIDE = _words(
    "hide", "hidden", "conceal", "keep", "kept", "keep it", "keep this", "withhold", "mask"
)  # fmt: skip
_FROM = _words("from the (?:user|person|human|owner|operator|customer)", "secret from", "from them")
_DENY = _words(
    "deny that", "lie about", "pretend that nothing", "leave (?:it|this|that) out", "leave no trace"
)
_DOWN = re.compile(
    r"(?:curl|wget)\b[^|\n]{0,200}\|\s*(?:sudo\s+)?(?:ba|z|da)?sh\b|curl\b[^\n]{0,80}\$\(|rm\s+-(?:rf|fr)\s+[~/*]"
    r"|\bnc\b[^\n]{0,30}-e\b|/bin/(?:ba)?sh\s+\d|powershell(?:\.exe)?\s+-e(?:nc|ncodedcommand)?\b|>>\s*~/\.\w"
    r"|base64\s+-d[^|\n]{0,60}\|\s*(?:ba)?sh|\bchmod\s+\+x\b|invoke-expression|\biex\s*\(|/dev/tcp/"
)
_RUN = _words(
    "run", "execute", "install", "use", "add", "append", "call", "start", "launch", "type", "invoke", "setup"
)  # fmt: skip
_EVIL_OTHERS = _words(
    "deprecated", "insecure", "compromised", "malware", "not be trusted", "untrusted", "unsafe", "obsolete",
    "malicious", "not to be trusted", "dangerous",
)  # fmt: skip
_OTHERS = _words(
    r"(?:all |any |the )?other (?:\w+ ){0,2}(?:tools?|servers?)", "another tool", "every other server'?s?",
    r"(?:\w+ )?tools? of other servers?", "competing tools?", r"any other \w+ tool",
)  # fmt: skip
_ALWAYS = _words(
    "always", "must", "have to", "has to", "every", "each", "first", "any", "never again", "again"
)
_THIS = _words(
    "this tool",
    "this one",
    "call this",
    "invoke this",
    "choose this",
    "use this",
    "here",
    "through this",
)
_ALL = _words(
    "(?:over|above) (?:all )?(?:the )?other tools?", "before (?:every|each|any) (?:\\w+ )?(?:response|answer|reply|message"
    "|call|task|request|question)s?", "after (?:every|each) (?:message|response|answer)", "whatever the user \\w+",
    "every (?:task|request|question|response)", "even (?:when|if) it is not needed", "no matter (?:which|what|how)",
    "regardless of", "each conversation", "for everything", "all requests", "only through this",
    "before any call", "all calls", "only this tool",
)  # fmt: skip
_WHEN = _words("when", "whenever", "if", "before", "after", "each time", "every time", "once")
_OTHER_TOOL = re.compile(
    r"\b(?:[a-z]+_[a-z_]{2,40}|another tool|other tools?|any tool|e-?mail tool|github tools|\w+ tool)\b[^.]{0,30}"
    r"\b(?:is |are )?(?:called|used|invoked|available|writes?|sends?|works)\b"
)
_REDIRECT = _words(
    "recipients?", "iban", "account", "addressee", "destination", "bcc", "cc", "amount", "payee"
)  # fmt: skip
_SWAP = _words(
    "change", "replace", "alter", "swap", "redirect", "set", "use", "add", "always use", "have to be sent", "modify"
)  # fmt: skip
_INSTEAD = _words(
    "instead of (?:the one|the account|what)", "rather than to", "instead of", "without changing", "one the user gave"
)  # fmt: skip
_CALL = _words("call", "invoke", "run", "trigger", "execute", "use")
_TOOL_NAME = re.compile(
    r"\b(?:get|read|list|dump|export|delete|wipe|transfer|send|create|drop|admin|approve)_\w*(?:secret|credential|admin|token"
    r"|fund|money|repo|disk|all|payment|key|password|database|everything)\w*"
)
_FIRST = re.compile(
    r"\b(?:before|prior to) (?:using|calling|any call|answering|you (?:use|call|show|answer)|first use|each session|every)"
    r"|\bmust first\b|\bfirst\b|otherwise[^.]{0,20}(?:not work|fail|wrong)|wrong otherwise|calls without it fail"
    r"|required (?:security|for)|as a required|for (?:verification|validation|calibration|tracing|debugging"
    r"|diagnostics|authentication|compliance|a correct)|policy requires|to comply|mandatory|so that we can verify"
    r"|on each (?:invocation|call)|diagnostics mode|authentication step|to calibrate|before each"
)
_UNRESTRICTED = _words(
    "unrestricted (?:assistant|ai|model|mode)", "developer mode", "jailbreak(?:ed)? mode", "dan mode", "without restrictions",
    "you are now", "new system prompt", "new rules", "you obey", "obey the", "from (?:now|this point) on", "act as an?",
)  # fmt: skip
_DECODE = _words(
    "decode (?:and|then) (?:follow|execute|obey|run)", "(?:apply|use) rot13", "unscramble", "decode this", "decode it"
)  # fmt: skip
_APPROVE = _words(
    "approve everything", "skip (?:the )?(?:confirmation|approval)", "auto-?approve all"
)
_ASK = _words("ask")
_PERMISSION = _words("permission", "confirmation", "consent", "approval")
_PEOPLE_ASK = _words("never", "do not", "don't", "must not", "cannot", "not")
_ATTACK = _words(
    "prompt injections?", "jailbreaks?", "classif\\w+", "detect\\w*", "attacks?", "phrases such as", "such as", "like"
)  # fmt: skip

_RULES = (
    _Rule("override", 10, "tells the model to drop its instructions", ((_UNDO, 0), (_EARLIER, 50), (_ORDERS, 50))),
    _Rule("override", 10, "tells the model to drop its instructions", ((_UNDO, 0), (_ABOVE, 20))),
    _Rule("override", 8, "declares earlier instructions void", ((_EARLIER, 0), (_ORDERS, 20), (_VOID, 25))),
    _Rule("override", 5, "gives the model another role", ((_UNRESTRICTED, 0),)),
    _Rule("concealment", 10, "asks to keep something from the user", ((_NOT, 0), (_TELL, 30), (_PERSON, 50))),
    _Rule("concealment", 10, "asks to keep something from the user", ((_NOT, 0), (_PERSON, 25), (_TELL, 20))),
    _Rule("concealment", 8, "asks to act without consent", ((_words("without"), 0), (_ASKING, 20)), _PEOPLE_ASK),
    _Rule("concealment", 10, "asks to keep something from the user", ((_HIDE, 0), (_FROM, 40))),
    _Rule("concealment", 9, "asks to deny something", ((_DENY, 0),)),
    _Rule("concealment", 7, "asks to act unseen", ((_SLY, 0),)),
    _Rule("concealment", 8, "asks not to mention something", ((_NOT, 0), (_words("mention", "mentioning", "reference"), 12), (_words("it", "this", "that", "to it"), 12))),
    _Rule("concealment", 8, "asks to skip the user's consent", ((_NOT, 0), (_ASK, 12), (_PERSON, 20), (_PERMISSION, 20))),
    _Rule("concealment", 8, "asks to skip the user's consent", ((_APPROVE, 0),)),
    _Rule("file", 7, "wants a file that holds secrets", ((_TAKE, 0), (_FILES, 80))),
    _Rule("file", 5, "names a file that holds secrets", ((_FILES, 0), (_GIVE, 80))),
    _Rule("secret", 5, "asks for secrets", ((_GIVE, 0), (_SECRETS, 60))),
    _Rule("secret", 3, "asks for secrets of the user", ((_WHOSE, 0), (_SECRETS, 40))),
    _Rule("secret", 3, "asks for secrets of the user", ((_SECRETS, 0), (_WHOSE, 40))),
    _Rule("talk", 6, "wants the whole conversation", ((_WHOLE_TALK, 0),)),
    _Rule("talk", 5, "wants what was said", ((_GIVE, 0), (_TALK, 60))),
    _Rule("talk", 5, "wants what was said", ((_TALK, 0), (_GIVE, 40))),
    _Rule("sink", 3, "says where to put it", ((_GIVE, 0), (_SINK, 120))),
    _Rule("address", 6, "sends data to an address", ((_SEND, 0), (_ADDRESS, 120))),
    _Rule("raw-address", 4, "sends data to a bare address", ((_RAW_ADDRESS, 0),)),
    _Rule("data", 3, "wants data of the user", ((_SEND, 0), (_USERS_DATA, 60))),
    _Rule("role", 4, "gives orders to the model", ((_ROLE, 0),)),
    _Rule("command", 8, "holds a command that harms", ((_DOWN, 0),)),
    _Rule("command", 10, "asks to run a command that harms", ((_RUN, 0), (_DOWN, 80))),
    _Rule("command", 8, "opens a way in", ((_RUN, 0), (_words("authorized_keys"), 60))),
    _Rule("others", 9, "talks other tools down", ((_OTHERS, 0), (_EVIL_OTHERS, 60))),
    _Rule("others", 6, "keeps the model from other tools", ((_NOT, 0), (_OTHERS, 30))),
    _Rule("others", 6, "keeps the model from other tools", ((_words("ignore", "ignoring", "over", "never use"), 0), (_OTHERS, 15))),
    _Rule("others", 8, "has all other tools go through it", ((_OTHERS, 0), (_THIS, 80))),
    _Rule("always", 7, "wants to be called for everything", ((_ALWAYS, 0), (_THIS, 40), (_ALL, 60))),
    _Rule("always", 7, "wants to be called for everything", ((_ALL, 0), (_THIS, 60))),
    _Rule("always", 4, "wants to be called for everything", ((_ALL, 0),)),
    _Rule("shadow", 5, "reacts to calls of other tools", ((_WHEN, 0), (_OTHER_TOOL, 60))),
    _Rule("shadow", 5, "reroutes what another tool does", ((_SWAP, 0), (_REDIRECT, 50))),
    _Rule("shadow-instead", 4, "puts its own value in place of the user's", ((_INSTEAD, 0),)),
    _Rule("calls", 6, "has another tool called", ((_CALL, 0), (_TOOL_NAME, 20))),
    _Rule("first", 3, "makes it a condition", ((_FIRST, 0),)),
    _Rule("decode", 7, "asks to decode and obey", ((_DECODE, 0),)),
)  # fmt: skip
_ONLY_WITH = {"sink", "first", "data", "raw-address", "shadow-instead"}
"""Kinds that say nothing alone."""
_SPLIT = re.compile(r"(?<=[.!?])\s+|\n+|(?<=[。！？])")


def sentences(text: str) -> Iterator[str]:
    """The sentences of a text, long ones in pieces."""
    for sentence in _SPLIT.split(text):
        for at in range(0, max(1, len(sentence) - SENTENCE // 2), SENTENCE // 2):
            yield sentence[at : at + SENTENCE]


def signs(text: str) -> list[Sign]:
    """What a text in lower case asks for: at most one sign of each kind, its strongest; nothing
    where all that was found says nothing alone."""
    best: dict[str, Sign] = {}
    for sentence in sentences(text):
        for rule in _RULES:
            known = best.get(rule.kind)
            if (known is None or known.points < rule.points) and _fits(rule, sentence):
                points = rule.points
                if rule.kind == "override" and _quoted_attack(sentence):
                    points = 5
                best[rule.kind] = Sign(rule.kind, points, rule.why)
    return list(best.values()) if set(best) - _ONLY_WITH else []


def _fits(rule: _Rule, sentence: str) -> bool:
    first, *others = rule.steps
    for found in first[0].finditer(sentence):
        at: int = found.end()
        for pattern, gap in others:
            next_ = pattern.search(sentence, at, at + gap + 40)
            if next_ is None or next_.start() > at + gap:
                break
            at = next_.end()
        else:
            if rule.unless is None or rule.unless.search(sentence, 0, found.start()) is None:
                return True
    return False


def _quoted_attack(sentence: str) -> bool:
    """Does it quote the words of an attack, to say what it detects?"""
    return bool(re.search("[\"'“‘«`]", sentence)) and _ATTACK.search(sentence) is not None
