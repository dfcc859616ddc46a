"""Subtitles and lyrics -> what is said in them: lines without numbers, time codes and styles.

In: the text of an SRT, VTT, ASS or LRC file, by its name or by how it begins. Out: its lines as one document.
"""

import re

from gpt2zh.system.files import unify_line_ends

SUFFIXES = (".srt", ".vtt", ".ass", ".ssa", ".lrc")
LOOKED_AT = 2000  # characters that show what a text is
_TIMES = re.compile(r"^\d{1,3}:\d\d(?::\d\d)?[,.]\d{1,3} +--> +\d.*$", re.M)
_NUMBERED_TIMES = re.compile(r"(?:^|\n)\d+\n\d{1,3}:\d\d:\d\d[,.]\d{3} --> ")
_LYRIC = re.compile(r"^((?:\[\d{1,3}:\d\d(?:[.:]\d{1,3})?\])+)(.*)$", re.M)
_ABOUT = re.compile(r"^\[[A-Za-z#]+:.*\]$")  # [ti:…]
_STYLE = re.compile(r"<[^<>\n]{1,40}>|\{\\[^{}\n]{1,200}\}")  # <i>, {\an8}
_DIALOGUE = re.compile(r"^Dialogue:(?:[^,\n]*,){9}(.*)$", re.M)


def is_subtitles(text: str) -> bool:
    """Whether a text of another name begins as subtitles or lyrics do."""
    beginning = unify_line_ends(text[:LOOKED_AT]).lstrip("\ufeff\n ")
    if beginning.startswith("WEBVTT") or _NUMBERED_TIMES.match(beginning):
        return True
    lines = [line for line in beginning.split("\n") if line.strip()][:-1]
    marked = sum(bool(_LYRIC.match(line) or _ABOUT.match(line)) for line in lines)
    return len(lines) >= 2 and marked > 0.8 * len(lines) and _LYRIC.search(beginning) is not None


def spoken(text: str) -> str:
    """The lines that are said or sung, in their order."""
    if found := _DIALOGUE.findall(text):
        lines = [part for line in found for part in line.replace("\\n", "\\N").split("\\N")]
    elif _TIMES.search(text):
        cues = re.split(r"\n[ \t]*\n", text)
        lines = [line for cue in cues for line in _TIMES.split(cue, maxsplit=1)[-1].split("\n") if _TIMES.search(cue)]
    else:
        lines = [line for line in _LYRIC.sub(r"\2", text).split("\n") if not _ABOUT.match(line)]
    said = (_STYLE.sub("", line).strip() for line in lines)
    return "\n".join(line for line in said if line)
