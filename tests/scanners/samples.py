"""Small vulnerable projects of our own, one a scanner: what the recorded reports were made from."""

from __future__ import annotations

from collections.abc import Mapping

_APP = '''"""A small service that does what it should not."""
import hashlib
import pickle
import subprocess

import requests

PASSWORD = "correct-horse-battery"


def run(command):
    return subprocess.call(command, shell=True)


def find(db, name):
    query = "SELECT * FROM users WHERE name = '%s'" % name
    return db.execute(query)


def digest(data):
    return hashlib.md5(data).hexdigest()


def load(blob):
    try:
        return pickle.loads(blob)
    except Exception:
        pass


def fetch(url):
    return requests.get(url, verify=False)


def calculate(text):
    return eval(
        text,
    )
'''
_NOTEBOOK = (
    '{"cells": [{"cell_type": "code", "execution_count": null, "metadata": {}, "outputs": [], '
    '"source": ["import os\\n", "os.system(input())\\n"]}], "metadata": {}, "nbformat": 4, '
    '"nbformat_minor": 5}'
)
_PYTHON: Mapping[str, str | bytes] = {
    "app.py": _APP,
    "pkg/__init__.py": "",
    "pkg/broken.py": "def broken(:\n    pass\n",
    "pkg/bytes.py": b'x = "\xff\xfe"\n',
    "pkg/declared.py": b'# -*- coding: latin-1 -*-\nx = "\xe9"\nexec(x)\n',
    "CVS/left.py": "eval(input())\n",
    "node_modules/left.py": "eval(input())\n",
}
_SERVER = """const { exec } = require("child_process");
const fs = require("fs");

function list(request, response) {
  exec("ls " + request.query.dir, (error, out) => response.send(out));
  eval(request.query.code);
  return fs.readFileSync(request.query.file);
}

const pick = (table, key) => table[key];
const slow = /^(a+)+$/;
let unused;

module.exports = { list, pick, slow };
"""
_WORKFLOW = """name: ci
on:
  pull_request_target:
jobs:
  build:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - run: echo "${{ github.event.pull_request.title }}"
"""
_ACTION = """name: greet
description: says hello
inputs:
  who:
    description: whom
runs:
  using: composite
  steps:
    - run: echo ${{ inputs.who }}
      shell: bash
"""
_DEPENDABOT = """version: 2
updates:
  - package-ecosystem: pip
    directory: /
    schedule:
      interval: daily
    insecure-external-code-execution: allow
"""
_DOCKERFILE = """FROM debian:latest
MAINTAINER somebody
ADD https://example.com/tool.tgz /opt/
RUN apt-get update && apt-get install curl
RUN cd /opt; sudo rm -rf $TARGET/*
USER root
"""

SAMPLES: Mapping[str, Mapping[str, str | bytes]] = {
    "bandit": _PYTHON,
    "ruff": {**_PYTHON, "book.ipynb": _NOTEBOOK},
    "pylint": _PYTHON,
    "eslint": {
        "server.js": _SERVER,
        "view.tsx": "export const View = (p: { code: string }) => <b>{eval(p.code)}</b>;\n",
        "sloppy.js": "with (window) { new Function(name); }\n",
        "broken.js": "function (\n",
        "empty.mjs": "",
        "node_modules/left/index.js": "eval(process.argv[2]);\n",
    },
    "zizmor": {
        ".github/workflows/ci.yml": _WORKFLOW,
        ".github/workflows/broken.yml": "name: [\n",
        ".github/workflows/shape.yml": "on: push\njobs:\n  a: 5\n",
        ".github/dependabot.yml": _DEPENDABOT,
        "greet/action.yml": _ACTION,
    },
    "hadolint": {
        "Dockerfile": _DOCKERFILE,
        "clean/Dockerfile": "FROM debian:12.8-slim\nUSER 1000\n",
        "worker.dockerfile": 'FROM debian:12.8-slim\nRUN apt-get install curl "x\nUSER 1000\n',
        "Dockerfile.bytes": b"\x80\x81 FROM debian\n",
    },
}
