"""YAML in and out, as another form of JSON. Read without tags of Python's, without aliases, and not too deep.

An alias lets a few lines stand for a great document; what we write has none.
"""

import importlib
from typing import Any

import msgspec

from opq_rules.errors import ENCODING, RuleError

LONGEST = 8 << 20
"""Characters."""
DEEPEST = 50


def as_json(text: str) -> bytes:
    """Raises RuleError: no YAML, or one of the above."""
    if len(text) > LONGEST:
        raise RuleError(f"content is longer than {LONGEST} characters", ENCODING)
    yaml = importlib.import_module("yaml")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        depth = 0
        for event in yaml.parse(text, Loader=loader):
            if isinstance(event, yaml.AliasEvent):
                line = event.start_mark.line + 1
                raise RuleError(f"content: line {line}: *{event.anchor} stands for something else", ENCODING)
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                raise RuleError(f"content: more than {DEEPEST} objects in each other", ENCODING)
        return msgspec.json.encode(yaml.load(text, Loader=loader))
    except (yaml.YAMLError, OverflowError, RecursionError, TypeError, ValueError) as error:
        raise RuleError(f"content is no YAML: {' '.join(str(error).split())[:300]}", ENCODING) from None


def written(document: Any) -> str:
    """`document`: JSON, decoded."""
    yaml = importlib.import_module("yaml")
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text: str = yaml.dump(document, Dumper=dumper, sort_keys=False, allow_unicode=True)
    return text
