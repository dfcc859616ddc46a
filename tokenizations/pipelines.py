"""Vocabulary entries -> a pipeline of the `tokenizers` library, which also is the model folder's tokenizer.json.

    characters  the ancestor's rules: lower case, every Han character, digit and punctuation mark alone, blanks dropped,
                Latin words and kana as WordPiece (`##`). Unlike the ancestor it keeps accents and voiced kana.
    verbatim    every character alone and as it stands, blanks and case too (English plays, code)
    words       the most probable segmentation into the file's words (Unigram), characters where no word is known
    unigram     the most probable segmentation into subwords, case and blanks kept, bytes where no piece is known
    bpe         byte-pair encoding over characters, the same text rules and bytes
    bytes       GPT-2's byte-level BPE

Inside a pipeline the newline is the token "\\n" and the blank " ", so `[SEP]` typed in a novel is text, and stock
transformers decodes paragraphs. Pure functions: text normalisation, no files, no ids of their own.
"""

import math
from collections.abc import Sequence

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from tokenizations.vocabulary import CONTINUATION, NEWLINE, SPACE, UNK

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]  # stand for a character that a subword vocabulary lacks
SURFACE = {NEWLINE: "\n", SPACE: " "}  # file entry -> token of the pipeline

# Character classes of the ancestor's BasicTokenizer, as regular expressions (its isdigit, punctuation and CJK ranges), and
# the Han of Unicode's extensions F to J, which it does not know.
DIGITS = r"\p{Nd}²³¹⁰⁴-⁹₀-₉①-⑨⑴-⑼⒈-⒐⓪⓵-⓽⓿❶-❾➀-➈➊-➒\x{1369}-\x{1371}\x{19DA}\x{10A40}-\x{10A43}\x{10E60}-\x{10E68}\x{11052}-\x{1105A}\x{1F100}-\x{1F10A}"
PUNCTUATION = r"\p{P}$+<=>^`|~"
HAN = (
    r"\x{4E00}-\x{9FFF}\x{3400}-\x{4DBF}\x{20000}-\x{2A6DF}\x{2A700}-\x{2B73F}\x{2B740}-\x{2B81F}\x{2B820}-\x{2CEAF}"
    r"\x{2CEB0}-\x{2EE5F}\x{30000}-\x{3347F}\x{F900}-\x{FAFF}\x{2F800}-\x{2FA1F}"
)
BLANKS = r"[^\S\n]+"
LETTER = r"\p{Latin}"
# Units of subword vocabularies: a newline; a digit; a run of Han; a run of punctuation; a word of other letters with the
# blank before it; a blank. Chinese has no blanks, so without these borders a paragraph would be one endless word.
UNITS = rf"\n|[{DIGITS}]|[{HAN}]+|[\p{{P}}\p{{S}}]+| ?[^\s{DIGITS}{HAN}\p{{P}}\p{{S}}]+|[^\S\n]"
STOPS = ",.;:!?"
LONGEST_WORD = 100  # letters; a longer run is [UNK], as in the ancestor

LINE_ENDS = normalizers.Replace(Regex(r"\r\n?"), "\n")


def surfaces(entries: Sequence[str]) -> dict[str, int]:
    """Token of the pipeline -> id."""
    return {SURFACE.get(entry, entry): id_ for id_, entry in enumerate(entries)}


def without(characters: str) -> normalizers.Normalizer:
    """Drop what one pair of brackets of a regular expression matches."""
    return normalizers.Replace(Regex(characters), "")


def build_characters(entries: Sequence[str]) -> Tokenizer:
    """The ancestor's character-level tokenizer. Ids are the entries' positions."""
    pipeline = Tokenizer(
        models.WordPiece(
            surfaces(entries),
            unk_token=UNK,
            continuing_subword_prefix=CONTINUATION,
            max_input_chars_per_word=LONGEST_WORD,
        )
    )
    pipeline.normalizer = normalizers.Sequence(
        [LINE_ENDS, without(r"[\p{C}&&[^\n\t]]|\x{FFFD}"), normalizers.Lowercase()]
    )
    pipeline.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(BLANKS), "removed"),
            pre_tokenizers.Split(Regex(rf"[\n{PUNCTUATION}{DIGITS}{HAN}]"), "isolated"),
        ]
    )
    # Blanks were dropped in encoding; between two Latin words, and after their stops, they are put back.
    needless_blank = rf" (?=[{STOPS}'])|(?<![{LETTER}{STOPS}]) | (?!{LETTER})"
    pipeline.decoder = decoders.Sequence(
        [
            decoders.WordPiece(CONTINUATION, cleanup=False),
            decoders.Fuse(),
            decoders.Replace(Regex(needless_blank), ""),
            decoders.Replace(Regex(rf"\A{CONTINUATION}(?=.)"), ""),
        ]
    )
    return pipeline


def build_verbatim(entries: Sequence[str]) -> Tokenizer:
    """Every character is a token; nothing is folded but the tab, which is a blank."""
    pipeline = Tokenizer(models.WordLevel(surfaces(entries), unk_token=UNK))
    pipeline.normalizer = normalizers.Sequence([LINE_ENDS, normalizers.Replace("\t", " "), without(r"[\p{C}&&[^\n]]")])
    pipeline.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    pipeline.decoder = decoders.Fuse()
    return pipeline


def build_words(entries: Sequence[str]) -> Tokenizer:
    """Segment into the file's words by probability, known from their order: Zipf's law, p ~ 1 / (rank + 2).

    A file in order of frequency needs no counts beside it, and text is segmented the same way in training and in any
    program that loads tokenizer.json. Against thulac's own cut, with its words as the vocabulary: see docs/performance.md.
    """
    # Six decimals are read back exactly from tokenizer.json.
    pieces = [(token, -round(math.log(rank + 2), 6)) for token, rank in surfaces(entries).items()]
    pipeline = Tokenizer(models.Unigram(pieces, unk_id=list(entries).index(UNK), byte_fallback=False))
    before = rf"[{LETTER}{DIGITS}{STOPS}]"
    after = rf"[{LETTER}{DIGITS}]"
    pipeline.normalizer = normalizers.Sequence(
        [
            LINE_ENDS,
            without(r"[\p{C}&&[^\n\t]]|\x{FFFD}"),
            normalizers.Lowercase(),
            normalizers.Replace(Regex(rf"(?<={before}){BLANKS}(?={after})"), " "),
            without(rf"(?<!{before}){BLANKS}|{BLANKS}(?!{after})"),
        ]
    )
    pipeline.pre_tokenizer = pre_tokenizers.Split(Regex(rf"[\n {PUNCTUATION}{DIGITS}]"), "isolated")
    pipeline.decoder = decoders.Fuse()
    return pipeline


def split_subwords(pipeline: Tokenizer) -> None:
    """Normalise and split for subwords: case and blanks are kept; no piece crosses the border of a unit."""
    pipeline.normalizer = normalizers.Sequence(
        [LINE_ENDS, without(r"[\p{C}&&[^\n\t]]|\x{FFFD}"), normalizers.Replace(Regex(r"[^\S\n]"), " ")]
    )
    pipeline.pre_tokenizer = pre_tokenizers.Split(Regex(UNITS), "isolated")
    pipeline.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])


def build_unigram(pieces: Sequence[tuple[str, float]]) -> Tokenizer:
    """The most probable segmentation into `pieces` (piece, log-probability); UTF-8 bytes where no piece fits.

    Ids are positions. The pieces hold the control tokens, "\\n" for [SEP], and the 256 bytes as <0x00> … <0xFF>.
    """
    unk_id = next(id_ for id_, (piece, _) in enumerate(pieces) if piece == UNK)
    pipeline = Tokenizer(models.Unigram(list(pieces), unk_id=unk_id, byte_fallback=True))
    split_subwords(pipeline)
    return pipeline


def build_bpe(vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> Tokenizer:
    """Byte-pair encoding over characters; UTF-8 bytes (<0x00> … <0xFF>) for a character that the vocabulary lacks."""
    pipeline = Tokenizer(models.BPE(vocabulary, merges, unk_token=UNK, fuse_unk=False, byte_fallback=True))
    split_subwords(pipeline)
    return pipeline


def keep_whole(pipeline: Tokenizer, tokens: Sequence[str]) -> None:
    """Make entries of the vocabulary tokens that are found in a text before all else and never split."""
    pipeline.add_tokens([AddedToken(token, normalized=False) for token in tokens])


def build_bytes(vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> Tokenizer:
    """GPT-2's byte-level BPE. `vocabulary` holds the control tokens too; no text can give their ids."""
    pipeline = Tokenizer(models.BPE(vocabulary, merges))
    pipeline.normalizer = LINE_ENDS
    pipeline.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pipeline.decoder = decoders.ByteLevel()
    return pipeline
