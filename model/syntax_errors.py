"""What a YAML parser says, put so that the author of the file knows which character to change.

PyYAML has two parsers with different words for the same mistake; both end in one sentence here.
"""

from __future__ import annotations

import re

import yaml

from model.errors import TopologyError
from model.problems import refusal

_SAME_COLUMN = "the keys of one map, and the dashes of one list, start in the same column"


def explain(error: yaml.MarkedYAMLError, text: str, file: str, opened: int) -> TopologyError:
    """The problem that the parser found, at the line where it is to be mended.

    `opened` is the line of the innermost list or map that was still open; 0: none was.
    """
    lines = re.split(r"\r\n|[\r\n\x85\u2028\u2029]", text)  # the line breaks of YAML 1.1, 5.4
    here = error.problem_mark or error.context_mark
    line = min(here.line, len(lines) - 1) + 1 if here else 0
    column = here.column if here else 0
    before, rest = lines[line - 1][:column], lines[line - 1][column:]
    start = error.context_mark.line + 1 if error.context_mark else opened or line
    line, message, hint = _explained(
        error, line, start, opened or line, before, rest, ends=not "".join([rest, *lines[line:]]).strip()
    )
    return refusal(file, line, message, hint)


def _explained(
    error: yaml.MarkedYAMLError, line: int, start: int, opened: int, before: str, rest: str, *, ends: bool
) -> tuple[int, str, str]:
    """(line, message, hint). The parser stopped in `line`, between `before` and `rest`, while reading
    something that began in line `start`; `ends`: nothing follows.
    """
    context, what = error.context or "", error.problem or ""
    if rest.startswith("\t") or "tab" in what:
        return line, "a tab stands where YAML takes only spaces", "indent with spaces"
    if "cannot start any token" in what:
        return line, f"a value cannot start with {rest[:1]}", "put the value in quotes"
    if "mapping values are not allowed" in what and ": " in before:
        return line, "a second ': ' in one line", "a value that contains ': ' needs quotes"
    if "mapping values are not allowed" in what:
        hint = "the line before lacks its colon or the space after it, or has a value already"
        return line, "this key does not fit under the line before", hint
    if "quoted scalar" in context and "end of stream" in what:
        return start, "the quote that opens here is not closed", "add the closing quote"
    if "unknown escape character" in what:
        escape = "\\" + rest.removeprefix("\\")[:1]
        hint = "use single quotes, or write \\\\ for a backslash"
        return line, f"{escape} means nothing between double quotes", hint
    if "could not find expected ':'" in what:
        return start, "this line has no ': ' after its key", "write key: value, or - item in a list"
    if "flow sequence" in context or "flow mapping" in context:
        opening, closing = "[]" if "sequence" in context else "{}"
        if ends:
            return start, f"the {opening} that opens here is not closed", f"add the closing {closing}"
        hint = f"items are separated by commas; the last is followed by {closing}"
        return line, f"the {opening} of line {start} goes on here without a comma or {closing}", hint
    if "node content" in what and ends:
        return opened, "the list or map that opens here is not closed", "add the closing ] or }"
    if "node content" in what:
        return line, f"a value cannot start with {rest[:1]}", "put the value in quotes"
    if "block scalar" in context:
        return line, "text goes on in the line of its | or >", "start it in the next line, indented"
    if "block" in context and before.strip(" -"):
        return line, f"the value has ended before {rest.strip()[:40]}", "put the whole value in quotes"
    if "block mapping" in context:
        return line, f"this line does not fit into the map that starts in line {start}", _SAME_COLUMN
    if "block" in context:
        return line, f"this line does not fit into the list that starts in line {start}", _SAME_COLUMN
    if "document start" in what:
        return (
            line,
            "this line stands after the end of the document",
            "the file is one map: hosts, networks, ...",
        )
    if "alias" in context or "anchor" in context:
        mark = "*" if "alias" in context else "&"
        return line, f"{mark} must be followed by a name", f"a value that starts with {mark} needs quotes"
    return line, f"this is not YAML: {what}", "values with special characters need quotes"
