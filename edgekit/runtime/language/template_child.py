"""Renders chat templates in a process of its own.

A template comes with a downloaded model and is a program: jinja2's sandbox keeps it from reaching
Python, and the limits of this process keep it from taking all memory or writing files. The parent
ends it when it takes too long. One JSON object a line comes in, one goes out. Run as
``python -m edgekit.runtime.language.template_child``.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from typing import Any, NoReturn

MOST_MEMORY_BYTES = 512 << 20
MOST_CHARACTERS = 1 << 22


class TemplateRefusedError(Exception):
    """The template itself refused the messages (``raise_exception``)."""


def main() -> None:
    """Answer requests until the input ends."""
    limit_process()
    for line in sys.stdin:
        try:
            answer = {"text": render(json.loads(line))}
        except TemplateRefusedError as error:
            answer = {"refused": str(error)[:400]}
        except MemoryError:
            answer = {"error": "it takes too much memory"}
        except RecursionError:
            answer = {"error": "it is nested too deeply"}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"[:400]}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def limit_process() -> None:
    """Bound memory and forbid files, where the system can."""
    try:
        import resource
    except ImportError:  # not on Windows; the time limit of the parent still holds
        return
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY_BYTES, MOST_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def render(request: dict[str, Any]) -> str:
    """Return the text that a template makes of its variables."""
    template = _environment().from_string(request["template"])
    parts: list[str] = []
    length = 0
    for part in template.generate(**request["variables"]):
        parts.append(part)
        length += len(part)
        if length > MOST_CHARACTERS:
            raise ValueError(f"its text is longer than {MOST_CHARACTERS:,} characters")
    return "".join(parts)


def _environment() -> Any:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment


def _to_json(value: object, indent: int | None = None, ensure_ascii: bool = False) -> str:
    # jinja2's own filter escapes HTML, which models were not trained on.
    return json.dumps(value, indent=indent, ensure_ascii=ensure_ascii)


def _refuse(message: str) -> NoReturn:
    raise TemplateRefusedError(message)


if __name__ == "__main__":
    main()
