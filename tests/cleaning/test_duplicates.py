"""Which documents are copies, against the plain definition: sets of 4-grams."""

import hashlib
import os
import random
import re
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2zh.cleaning.duplicates import (
    CHANCE,
    SHORTEST,
    SLOTS,
    Duplicate,
    DuplicateFinder,
    estimate,
    ngrams,
    signature,
)
from gpt2zh.errors import UserError

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


def changed(text: str, rate: float, seed: int = 0) -> str:
    """Replace, delete or insert at `rate` of the places."""
    rng = random.Random(seed)
    characters = list(text)
    for place in rng.sample(range(len(text)), round(rate * len(text))):
        other = rng.choice(text)
        characters[place] = rng.choice(["", other, characters[place] + other])
    return "".join(characters)


def gram_set(text: str) -> set[str]:
    letters = "".join(filter(str.isalnum, text.lower()))
    return {letters[place : place + 4] for place in range(len(letters) - 3)}


def jaccard(first: str, second: str) -> float:
    a, b = gram_set(first), gram_set(second)
    return len(a & b) / len(a | b)


def find(texts: list[str], threshold: float = 0.8) -> dict[int, Duplicate]:
    finder = DuplicateFinder(threshold)
    for text in texts:
        finder.add(text)
    return finder.find()


@pytest.fixture(scope="module")
def pieces(book: list[str]) -> list[str]:
    """The book in pieces of 1,000 characters, cut inside its documents."""
    return [text[start : start + 1000] for text in book for start in range(0, len(text) - 500, 1000)]


def test_different_chapters_and_pieces_are_no_duplicates(book: list[str], pieces: list[str]) -> None:
    assert find(book, 0.5) == {}
    assert find(pieces, 0.5) == {}


def test_the_same_text_again_is_an_exact_duplicate_of_the_first(book: list[str]) -> None:
    n = len(book)
    assert find(book + book + book) == {number: Duplicate(number % n, "exact", 1.0) for number in range(n, 3 * n)}


@pytest.mark.parametrize(("rate", "threshold"), [(0.01, 0.8), (0.02, 0.75), (0.03, 0.65), (0.05, 0.55)])
def test_changed_copies_are_near_duplicates(pieces: list[str], rate: float, threshold: float) -> None:
    copies = [changed(piece, rate, seed) for seed, piece in enumerate(pieces)]
    found = find(pieces + copies, threshold)
    n = len(pieces)
    assert {number: duplicate.of for number, duplicate in found.items()} == {n + place: place for place in range(n)}
    assert {duplicate.kind for duplicate in found.values()} == {"near"}


def test_at_the_threshold_of_the_default_almost_all_clear_copies_are_found(pieces: list[str]) -> None:
    """2 % changed is 0.85 alike: 1.6 standard errors above 0.8, times the bands' 0.99."""
    copies = [changed(piece, 0.02, seed) for seed, piece in enumerate(pieces)]
    found = find(pieces + copies)
    assert len(found) >= 0.85 * len(copies)
    for number, duplicate in found.items():
        assert number == len(pieces) + duplicate.of


def test_wrapping_punctuation_and_case_do_not_count(pieces: list[str]) -> None:
    text = pieces[0] + "Call me Ishmael"
    wrapped = "\n".join(text[start : start + 38] for start in range(0, len(text), 38))
    bare = re.sub(r"\W", "", text).upper()
    assert find([text, wrapped, bare]) == {1: Duplicate(0, "near", 1.0), 2: Duplicate(0, "near", 1.0)}


def test_a_part_is_no_duplicate_of_the_whole(book: list[str]) -> None:
    whole = max(book, key=len)
    assert find([whole, whole[: len(whole) // 2]]) == find([whole[: len(whole) // 2], whole]) == {}


def test_short_texts_are_compared_whole() -> None:
    text = "秋天的后半夜，月亮下去了，太阳还没有出，只剩下一片乌蓝的天"
    assert len(gram_set(text)) + 3 < SHORTEST
    assert find([text, text + "。", text, "", ""]) == {
        2: Duplicate(0, "exact", 1.0),
        4: Duplicate(3, "exact", 1.0),
    }


def test_a_document_is_dropped_only_for_a_kept_one(pieces: list[str]) -> None:
    """A chain in which every text is near its neighbours and far from the ends: no link may go with the one it leans on."""
    chain = [pieces[0]]
    for seed in range(30):
        chain.append(changed(chain[-1], 0.015, seed))
    assert jaccard(chain[0], chain[-1]) < 0.3
    texts = [*chain, chain[1], chain[5], chain[1]]
    found = find(texts)
    assert 3 < len(found) < len(texts)
    for number, duplicate in found.items():
        assert duplicate.of < number and duplicate.of not in found
        assert jaccard(texts[number], texts[duplicate.of]) > 0.8 - 4 * 0.035
    assert {31: found[31], 32: found[32], 33: found[33]} == {
        31: found.get(1) or Duplicate(1, "exact", 1.0),
        32: found.get(5) or Duplicate(5, "exact", 1.0),
        33: found.get(1) or Duplicate(1, "exact", 1.0),
    }


def test_of_every_group_the_first_is_kept_whatever_the_order(pieces: list[str]) -> None:
    groups = [(group, piece) for group, piece in enumerate(pieces[:40])]
    texts = [(group, changed(piece, 0.004, seed) if seed else piece) for group, piece in groups for seed in range(4)]
    for order in range(5):
        random.Random(order).shuffle(texts)
        found = find([text for _, text in texts])
        first = {}
        for number, (group, _) in enumerate(texts):
            first.setdefault(group, number)
        kept = [number for number in range(len(texts)) if number not in found]
        assert kept == sorted(first.values())


def test_the_most_similar_kept_document_is_named(pieces: list[str]) -> None:
    far, near = changed(pieces[0], 0.03, 1), changed(pieces[0], 0.03, 2)
    assert jaccard(far, near) < 0.7
    found = find([far, near, changed(near, 0.003, 3)], 0.8)
    assert {number: duplicate.of for number, duplicate in found.items()} == {2: 1}


def test_many_copies_of_one_text_among_others(pieces: list[str]) -> None:
    texts = pieces + [changed(pieces[7], 0.005, seed) for seed in range(500)]
    assert {duplicate.of for duplicate in find(texts).values()} == {7}
    assert len(find(texts)) == 500


def test_ngrams_are_those_of_the_definition(book: list[str]) -> None:
    """Equal 4-grams have equal hashes, and different ones different."""
    text = "".join(book) + "ÀÉ ١٢٣ 𠮷野家で食べた"
    letters = "".join(filter(str.isalnum, text.lower()))
    grams = [letters[place : place + 4] for place in range(len(letters) - 3)]
    hashes = ngrams(text).tolist()
    assert len(hashes) == len(grams)
    assert len(set(hashes)) == len(set(grams)) == len(set(zip(hashes, grams)))


@pytest.mark.parametrize("length", [120, 300, 1000, 5000])
def test_estimate_is_the_jaccard_similarity(book: list[str], length: int) -> None:
    """Unbiased, and no wider than 128 independent draws: the error in standard errors over 200 pairs."""
    text, rng, errors = "".join(book), random.Random(length), []
    for seed in range(200):
        start = rng.randrange(len(text) - length)
        first = text[start : start + length]
        second = changed(first, rng.choice([0.03, 0.05, 0.1]), seed)
        slots = [np.frombuffer(signature(version), np.uint8, offset=8) for version in (first, second)]
        true = jaccard(first, second)
        errors.append((estimate(*slots) - true) / np.sqrt(true * (1 - true) / SLOTS))
    assert abs(np.mean(errors)) < 4 / np.sqrt(len(errors))
    assert np.std(errors) < 1.2
    assert np.max(np.abs(errors)) < 4.5


def test_unlike_texts_are_nothing_alike(pieces: list[str]) -> None:
    slots = np.stack([np.frombuffer(signature(piece), np.uint8, offset=8) for piece in pieces])
    similarity = np.mean([np.mean(estimate(slots[place + 1 :], slots[place])) for place in range(len(slots) - 1)])
    assert abs(similarity) < 0.2 * CHANCE


def test_signature_is_the_same_in_every_process(pieces: list[str]) -> None:
    """Two processes with different hash seeds, and the value that the first machine gave: other CPUs run other kernels."""
    code = (
        "import sys; sys.stdin.reconfigure(encoding='utf-8')\n"
        "from gpt2zh.cleaning.duplicates import signature; text = sys.stdin.read()\n"
        "print(b''.join(signature(text[:n]) for n in (10, 60, 100, 300, 1000)).hex())"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            input=pieces[0].encode(),
            cwd=ROOT,
            capture_output=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout.strip()
        for seed in ("1", "2")
    }
    here = b"".join(signature(pieces[0][:n]) for n in (10, 60, 100, 300, 1000))
    assert outputs == {here.hex().encode()}
    assert hashlib.sha256(here).hexdigest()[:16] == "014398f6a278edf9"


def test_signatures_of_workers_give_the_same_result(pieces: list[str]) -> None:
    texts = [*pieces, *(changed(piece, 0.02, seed) for seed, piece in enumerate(pieces)), "短", "短"]
    finder = DuplicateFinder()
    for made in map(signature, texts):
        finder.add_signature(made)
    assert len(finder) == len(texts)
    found = finder.find()
    assert found == find(texts) == finder.find()
    finder.add("短")
    assert finder.find() == {**found, len(texts): Duplicate(len(texts) - 2, "exact", 1.0)}


@settings(max_examples=100, deadline=None)
@given(st.lists(ANY_TEXT | st.sampled_from(["", "猫", "😀", "ab" * 60, "😀" * 90, "\udcff", "０１"]), max_size=12))
def test_any_texts(texts: list[str]) -> None:
    """What is dropped repeats what is kept; every different text is kept or near one that is kept."""
    found = find(texts)
    for number, duplicate in found.items():
        assert duplicate.of < number and duplicate.of not in found
        if duplicate.kind == "exact":
            assert texts[number] == texts[duplicate.of]
        else:
            assert jaccard(texts[number], texts[duplicate.of]) > 0.5
    kept = [text for number, text in enumerate(texts) if number not in found]
    assert len(set(kept)) == len(kept)


@settings(max_examples=50, deadline=None)
@given(ANY_TEXT)
def test_a_text_is_its_own_duplicate_and_repetition_does_not_count(text: str) -> None:
    assert signature(text) == signature(text)
    assert find([text, text]) == {1: Duplicate(0, "exact", 1.0)}
    doubled = (text + "一二三四") * 40
    if len(gram_set(doubled)) + 3 >= SHORTEST:
        assert find([doubled, doubled + doubled[:-1]])[1].similarity == 1.0


def test_corpora_without_documents_or_signatures() -> None:
    assert DuplicateFinder().find() == {}
    assert find(["", "a", "b"]) == {}


@pytest.mark.parametrize("threshold", [0.49, 1.01, float("nan")])
def test_a_threshold_that_cannot_be_kept_is_refused(threshold: float) -> None:
    with pytest.raises(UserError, match=str(threshold)):
        DuplicateFinder(threshold)


def test_without_rensa_the_message_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['rensa'] = None\n"
        "from gpt2zh.cleaning.duplicates import signature\n"
        "signature('short')\n"
        "try: signature('天地玄黄宇宙洪荒' * 20)\n"
        "except Exception as error: print(type(error).__name__, ascii(str(error)))"
    )
    output = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert output.startswith("UserError") and 'pip install "rensa>=0.5"' in output
