"""What is left out of an artifact: the lines of a `.stokerignore`, which are those of a `.gitignore`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

IGNORE_FILE = ".stokerignore"
ALWAYS = (".git/", "__pycache__/", f"/{IGNORE_FILE}")
"""Left out whatever the file says."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One line."""

    pattern: re.Pattern[str]
    """Matches the whole path, from the directory that is packed."""
    is_negated: bool
    only_directories: bool


def parse_rules(text: str) -> Sequence[Rule]:
    """The rules of a `.stokerignore`, with those that always hold."""
    lines = [line.rstrip() for line in text.splitlines()]
    return [_rule(line) for line in (*lines, *ALWAYS) if line and not line.startswith("#")]


def is_ignored(path: str, is_directory: bool, rules: Sequence[Rule]) -> bool:
    """Whether `path` is left out; the last rule that matches decides. What is in a directory left out is too."""
    for rule in reversed(rules):
        if (is_directory or not rule.only_directories) and rule.pattern.fullmatch(path):
            return not rule.is_negated
    return False


def _rule(line: str) -> Rule:
    is_negated = line.startswith("!")
    glob = line.removeprefix("!")
    only_directories = glob.endswith("/")
    glob = glob.rstrip("/")
    # A slash that is not the last ties a pattern to the directory that is packed.
    anywhere = "" if "/" in glob else "(?:.*/)?"
    return Rule(re.compile(anywhere + _translate(glob.lstrip("/")), re.DOTALL), is_negated, only_directories)


def _translate(glob: str) -> str:
    """A glob as a regular expression, in which `*` stops at a slash and `**` does not."""
    parts: list[str] = []
    for token in re.findall(r"\*\*/|\*\*|\*|\?|\[[^\]]+\]|\\.|.", glob, re.DOTALL):
        match token:
            case "**/":
                parts.append("(?:.*/)?")
            case "**":
                parts.append(".*")
            case "*":
                parts.append("[^/]*")
            case "?":
                parts.append("[^/]")
            case _ if token.startswith("[") and len(token) > 1:
                inside = token[1:-1].replace("\\", r"\\").replace("[", r"\[")
                parts.append(f"[^{inside[1:]}]" if inside.startswith("!") else f"[{inside}]")
            case _:
                parts.append(re.escape(token.removeprefix("\\") or token))
    return "".join(parts)
