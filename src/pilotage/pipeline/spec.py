"""The shape of a pipeline as people write it: the source of its JSON Schema and of every check
of types and keys. What it means is made of it in lint.py."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from pilotage.domain.pipeline import InputType, OnFailure

Name = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,99}$")]
Text = Annotated[str, Meta(max_length=1000)]
Scalar = str | int | float | bool
Seconds = Annotated[float, Meta(ge=0, le=86_400)]


class InputSpec(msgspec.Struct, forbid_unknown_fields=True):
    """A value that whoever starts the run may give."""

    description: Text = ""
    type: InputType = InputType.STRING
    required: bool = False
    default: Scalar | None = None


class StepSpec(msgspec.Struct, forbid_unknown_fields=True):
    """One tool call."""

    name: Annotated[Name, Meta(description="how other steps, expressions and reports name it")]
    tool: Annotated[str, Meta(min_length=1, description="the tool to call")]
    params: Annotated[
        dict[str, Any], Meta(description="its arguments; any text in them may hold ${{ }}")
    ] = {}
    on_failure: Annotated[
        OnFailure,
        Meta(
            description="fail: what needs this step does not run, and the run fails; continue: "
            "go on; manual: wait for a person"
        ),
    ] = OnFailure.FAIL
    retry_count: Annotated[
        Annotated[int, Meta(ge=0, le=100)] | None, Meta(description="attempts after the first")
    ] = None
    retry_delay: Annotated[Seconds, Meta(description="seconds between attempts")] = 0
    depends_on: Annotated[
        list[Name] | None,
        Meta(
            description="steps that must have ended well before; left out: the step above; "
            "[]: none, it starts at once"
        ),
    ] = None
    timeout: Annotated[
        Annotated[float, Meta(gt=0, le=86_400)] | None,
        Meta(description="seconds that one attempt may take"),
    ] = None


class PipelineSpec(msgspec.Struct, forbid_unknown_fields=True):
    """A Pilotage pipeline."""

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    steps: Annotated[list[StepSpec], Meta(min_length=1, max_length=10_000)]
    description: Text = ""
    inputs: Annotated[dict[Name, InputSpec], Meta(description="read as ${{ inputs.NAME }}")] = {}
    env: Annotated[
        dict[Name, Scalar],
        Meta(description="read as ${{ env.NAME }}, before the job's own environment"),
    ] = {}


KEYS = {kind: tuple(kind.__struct_fields__) for kind in (PipelineSpec, StepSpec, InputSpec)}


def json_schema() -> dict[str, Any]:
    """For editors and for whoever writes pipelines by program."""
    schema = msgspec.json.schema(PipelineSpec)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Pilotage pipeline",
        **schema,
    }
