"""Cleaning rule for characters that Unicode says are the same as another: what copying from a PDF or a Mac's file names leaves.

In: a text. Out: an `Edit`. Punctuation and full-width forms stay as they are: to a reader they are not the same.
"""

import re
import unicodedata

from gpt2zh.cleaning.edits import Edit, replace_spans

# The radicals of U+2E80 to U+2EF3 and what they are as characters (Unicode 14, EquivalentUnifiedIdeograph.txt).
_RADICALS = str.maketrans(
    "⺁⺂⺃⺄⺅⺆⺇⺈⺉⺊⺋⺌⺍⺎⺏⺐⺑⺒⺓⺔⺕⺖⺗⺘⺙⺛⺜⺝⺞⺟⺠⺡⺢⺣⺤⺥⺦⺧⺨⺩⺪⺫⺬⺭⺮⺯⺰⺱⺲⺳⺴⺵⺶⺷⺸⺹⺺"
    "⺻⺼⺽⺾⺿⻀⻁⻂⻃⻄⻅⻆⻇⻈⻉⻊⻋⻌⻍⻎⻏⻐⻑⻒⻓⻔⻕⻖⻗⻘⻙⻚⻛⻜⻝⻞⻟⻠⻡⻢⻣⻤⻥⻦⻧⻨⻩⻪⻫⻬⻭⻮⻯⻰⻱⻲⻳",
    "厂乛乚乙亻冂𠘨刀刂卜㔾小小兀尣尢𡯂巳幺彑彐忄心扌攵旡日月歺母民氵氺灬爫爫丬牛犭王𤴔目示礻𥫗糹纟罓罒㓁冗𦉫羊𦍌𦍋耂肀"
    "聿肉𦥑艹艹艹虎衤覀西见角𧢲讠贝𧾷车辶辶辶邑钅長镸长门𨸏阝雨青韦页风飞食𩙿飠饣𩠐马骨鬼鱼鸟卤麦黄黾斉齐歯齿竜龙龜亀龟",
)
_OTHER_CODE = re.compile(
    "[\u2e80-\u2ef3\u2f00-\u2fd5\uf900-\ufaff\U0002f800-\U0002fa1f]+"  # radicals, compatibility ideographs
    "|[^\\W\\d_][\u0300-\u036f\u3099\u309a]+"  # a letter or kana, and its marks
    "|[\u1100-\u11ff]{2,}"  # the parts of Hangul
)


def same_characters(text: str) -> Edit:
    """⽼⼈ ⻛ -> 老人 风; か and its mark, e and its accent -> が, é."""
    found = ((match, _usual(match[0])) for match in _OTHER_CODE.finditer(text))
    return replace_spans(text, ((*match.span(), usual) for match, usual in found if usual != match[0]))


def _usual(characters: str) -> str:
    """The usual codes: of Kangxi's radicals by NFKC, of the others by the table and NFC."""
    usual = "".join(unicodedata.normalize("NFKC", c) if "\u2f00" <= c <= "\u2fd5" else c for c in characters)
    return unicodedata.normalize("NFC", usual.translate(_RADICALS))
