"""Cleaning rules against download sites: advertisements, addresses, chapter-end marks.

In: a text, line ends `\\n`, blanks plain. Out: an `Edit`. Sentences of prose on the same line stay.
"""

import re
import unicodedata
from collections.abc import Iterator

from gpt2zh.cleaning.edits import Edit, replace_spans, substitute

LONGEST_LINE = 400  # characters; an advertisement is a line or a sentence, a longer line is a paragraph
_TLD = r"(?:com|net|org|cn|cc|info|la|me|tw|xyz|top|vip)"
_ADDRESS = re.compile(rf"(?:https?[:：]//|www[.。]|(?<![\w.@-])(?:[\w-]{{1,30}}\.){{1,3}}{_TLD}(?![\w-]))", re.I | re.A)
# What only a download site says: one is enough.
_SITE = (
    r"(?:收藏|记住|牢记|記住)(?:一下)?(?:本站|本书首发|我们的?网[站址])|"
    r"一秒(?:钟)?[记記]住[^\n。，]{0,8}(?:[网站阁【：:]|www)|最新章节(?:尽在|地址|列表)|"
    r"本章未完[，,]?请?(?:点击|翻页)|点击下一[页章]继续|用户上传之内容|本人不做任何负责|书评和最新更新|"
    r"内容版权归作者所有|首发(?:网址|域名|地址)|"
    r"本(?:书|作品|电子书)由[^\n。]{0,24}(?:书屋|论坛|小说网|TXT|txt)[^\n。]{0,12}(?:收集|整理|上传|提供|制作)"
)
# What a character in a novel may say too: it needs an address beside it, or two of the weak words.
_PHRASE = (
    r"请(?:收藏|记住|牢记)(?:网址|域名|地址)|请记住本书|最新章节请|手机用户[请請](?:浏览|访问|到)|无弹窗|无广告[！!]|24小时内(?:自行)?删除|"
    r"更多(?:更好|精彩|好看|免费)的?(?:TXT|txt|电子书|小说[，,]?请)|"
    r"本(?:书|作品|电子书)由[^\n。]{0,24}网[^\n。]{0,12}(?:收集|整理|上传|提供|制作)"
)
_SITE_PHRASE, _DOUBTFUL_PHRASE = re.compile(_SITE), re.compile(_PHRASE)
# What a sentence with an address says if it advertises: two are needed.
_WEAK_PHRASE = re.compile(
    r"下载|阅读|小说|书评|更新|网址|本站|收藏|首发|手机|电子书|论坛|书友|登[陆录]|访问|最新章节|(?i:txt)|网站|整理|免费|推荐"
)
_HINT = re.compile(rf"https?[:：]|[wWｗＷ][ 。.]?[wWｗＷ][ 。.]?[wWｗＷ]|{_SITE}|{_PHRASE}")
_QUOTE = re.compile('[“”「」"]')
_SENTENCE = re.compile("[^。！？!?”」]*(?:[。！？!?”」]+|$)")
_OBFUSCATED = re.compile(rf"(?:https?)?w{{2,4}}[a-z0-9]{{3,40}}?{_TLD}")
_RULER = re.compile(r"(?m)^[=\-_*~#+]{10,200}$\n?")


def _is_address(line: str) -> bool:
    """An address behind noise: wＷ w.xia oshuotxＴ.nett-xt小-说."""
    if len(line) > 100:
        return False
    letters = "".join(filter(str.isalnum, unicodedata.normalize("NFKC", line).lower()))
    return _OBFUSCATED.match(letters) is not None and sum(character > "\u2fff" for character in letters) <= 12


def _advertises(sentence: str, several: bool) -> bool:
    if _SITE_PHRASE.search(sentence):
        return True
    address = _ADDRESS.search(sentence) is not None
    rest, doubtful = _DOUBTFUL_PHRASE.subn("", sentence)
    weak = len(set(_WEAK_PHRASE.findall(rest))) >= 2
    return address + (doubtful > 0) + (weak or several) >= 2


def _without_advertisement(line: str) -> str:
    if _is_address(line):
        return ""
    # Two doubtful phrases on one line are an advertisement, unless someone says them.
    n_phrases = len(_DOUBTFUL_PHRASE.findall(line)) + len(_SITE_PHRASE.findall(line))
    several = n_phrases >= 2 and not _QUOTE.search(line)
    return "".join(sentence for sentence in _SENTENCE.findall(line) if not _advertises(sentence, several))


def _advertisements(text: str) -> Iterator[tuple[int, int, str]]:
    end = -1
    for hint in _HINT.finditer(text):
        if hint.start() < end:
            continue
        start, end = text.rfind("\n", 0, hint.start()) + 1, text.find("\n", hint.start()) + 1 or len(text) + 1
        line = text[start : end - 1]
        if len(line) <= LONGEST_LINE and (rest := _without_advertisement(line)) != line:
            yield (start, end - 1, rest) if rest.strip() else (start, min(end, len(text)), "")


def advertisements(text: str) -> Edit:
    """Lines and sentences of download sites, addresses hidden among odd characters included."""
    return replace_spans(text, _advertisements(text)) if _HINT.search(text) else Edit(text)


def rulers(text: str) -> Edit:
    """Lines of ten and more = - _ * ~ # +."""
    return substitute(_RULER, "", text)


_URL = re.compile(
    r"(?m)^ {0,40}(?:https?://|www\.)[\w\-.~:/?#@!$&'*+,;=%()]{3,300} {0,40}$\n?"
    r"|(?<!\])[（(【](?:https?://|www\.)[\w\-.~:/?#@!$&'*+,;=%]{3,300}[）)】]",
    re.I | re.A,
)


def urls(text: str) -> Edit:
    """Addresses (http://…, www.…) on a line of their own or in brackets; one that a sentence names is part of it."""
    return substitute(_URL, "", text) if "://" in text or "www." in text.lower() else Edit(text)


_END_MARK = (
    r"(?:本 ?[章卷回] ?未? ?[完终]|本[章卷回]结束|[全本] ?[书文篇剧] ?(?:完结?|终)|未 ?完[ ，,]?待 ?续|end of chapter)"
)
_END_LINE = re.compile(
    rf"(?mi)^ {{0,40}}[—\-…~·*=.（(【\[「《]{{0,12}} ?{_END_MARK} ?[—\-…~·*=.。!！）)】\]」》]{{0,12}} {{0,40}}$\n?"
    r"|^ {0,40}[（(【\[—\-]{1,6} ?(?:待续|the end) ?[）)】\]—\-]{0,6} {0,40}$\n?"
    r"|^ {0,40}the end[.!]? {0,40}$\s*\Z"
)
_END_BRACKET = re.compile(rf"(?m)[（(【\[]{_END_MARK}[。.!！…]{{0,6}}[）)】\]](?= {{0,40}}$)", re.I)


def chapter_ends(text: str) -> Edit:
    """(本章完), ——未完待续 and their like, on a line of their own or in brackets at a line's end."""
    found = substitute(_END_LINE, "", text)
    more = substitute(_END_BRACKET, "", found.text)
    return Edit(more.text, found.n_places + more.n_places, found.examples + more.examples)
