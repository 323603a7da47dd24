"""What a request sets, of any protocol, under the names of OpenTelemetry's conventions.

A request is told by the keys that it has: `generationConfig` is looked into, and each
name goes by several keys.
"""

from collections.abc import Mapping
from typing import Any, Final

from unstream._json import Json

__all__ = ["parameters"]

_NUMBER: Final = (int, float)
_COUNT: Final = (int,)
# The keys that a name goes by, and the types of its values.
_NAMES: Final[dict[str, tuple[tuple[str, ...], tuple[type, ...]]]] = {
    "max_tokens": (
        ("max_completion_tokens", "max_tokens", "max_output_tokens", "maxOutputTokens"),
        _COUNT,
    ),
    "temperature": (("temperature",), _NUMBER),
    "top_p": (("top_p", "topP"), _NUMBER),
    "top_k": (("top_k", "topK"), _NUMBER),
    "frequency_penalty": (("frequency_penalty", "frequencyPenalty"), _NUMBER),
    "presence_penalty": (("presence_penalty", "presencePenalty"), _NUMBER),
    "seed": (("seed",), _COUNT),
    "choice.count": (("n", "candidateCount"), _COUNT),
    "stop_sequences": (("stop", "stop_sequences", "stopSequences"), (list,)),
}


def parameters(body: Mapping[str, Json]) -> dict[str, Any]:
    """Return what the body of a request sets, but for the model and the stream."""
    config = body.get("generationConfig")
    sent = {**config, **body} if type(config) is dict else body
    made: dict[str, Any] = {}
    for name, (keys, types) in _NAMES.items():
        value = next((sent[key] for key in keys if sent.get(key) is not None), None)
        if type(value) is str:
            value = [value]
        if type(value) is list:
            value = [text for text in value if type(text) is str]
        if type(value) in types:
            made[f"gen_ai.request.{name}"] = value
    if made.get("gen_ai.request.choice.count") == 1:
        del made["gen_ai.request.choice.count"]  # which it is where it is not said
    text, form = body.get("text"), body.get("response_format")
    if type(text) is dict:  # of the Responses API
        form = text.get("format")
    kind = form.get("type") if type(form) is dict else None
    if type(kind) is str:
        made["gen_ai.output.type"] = "json" if kind.startswith("json") else kind
    return made
