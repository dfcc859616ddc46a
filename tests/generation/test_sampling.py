"""The loop that writes: against a model without cache, against transformers; texts that do not know of each other; endings."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from conftest import TINY_CONFIG
from test_loops import repeated_by_definition
from transformers import GPT2Config, GPT2LMHeadModel

from gpt2zh.device import choose_device
from gpt2zh.generation.decoder import Decoder, make_decoder
from gpt2zh.generation.draft import MOST_LOOPS, Draft, Meanings, Sample
from gpt2zh.generation.logits import SamplingSettings
from gpt2zh.model.shape import shape_of
from gpt2zh.model.stock import ControlIds, new_model
from gpt2zh.sampling import generate_batch, generate_once, write

END, NEWLINE, V = 2, 3, 40
STOP, QUOTE, COMMA = 10, 11, 12  # 。 ” ，


@dataclass
class Words:
    """A vocabulary: which of V ids mean what."""

    document_end_id: int = END
    newline_id: int = NEWLINE
    never_sampled: Sequence[int] = (0, 1)
    punctuation_ids: Sequence[int] = (NEWLINE, STOP, QUOTE, COMMA)
    sentence_end_ids: Sequence[int] = (STOP,)
    closing_ids: Sequence[int] = (QUOTE,)
    tokens: list[str] = field(default_factory=list)

    def encode_prefix(self, prefix: str) -> list[int]:
        return [ord(character) - ord("A") for character in prefix]

    def decode_after(self, prefix: str, prefix_ids: Sequence[int], ids: Sequence[int]) -> str:
        return prefix + "".join(chr(id_ + ord("A")) for id_ in ids)


ENDLESS = Words(never_sampled=(0, 1, END))


@pytest.fixture(scope="module")
def model() -> GPT2LMHeadModel:
    torch.manual_seed(3)
    model = new_model(GPT2Config(**{**TINY_CONFIG, "initializer_range": 0.3}), V, ControlIds(4, END, 0)).eval()
    return model


@pytest.fixture(scope="module", params=["auto", "off"], ids=["C++", "torch"])
def decoder(model: GPT2LMHeadModel, request: pytest.FixtureRequest) -> Decoder:
    """C++ where there is a compiler; torch's operators."""
    shape = shape_of(model.config.to_dict())
    return make_decoder(model.state_dict(), shape, choose_device("cpu", "fp32"), compile=request.param)


def texts(
    decoder: Decoder,
    prefix: list[int],
    length: int,
    numbers: Sequence[int] = (0,),
    seed: int = 0,
    batch_size: int = 1,
    vocabulary: Words = ENDLESS,
    **settings: object,
) -> list[Sample]:
    """Samples in the order of their numbers; loops are kept unless asked otherwise."""
    chosen = SamplingSettings(**{"break_loops": False, **settings})
    samples = write(decoder, prefix, numbers, length, seed, chosen, vocabulary, batch_size)
    return sorted(samples, key=lambda sample: sample.number)


def draft(ids: Sequence[int], length: int = 1000, vocabulary: Words | None = None, **settings: object) -> Draft:
    """A text to which `ids` were added after a prefix of one."""
    meanings = Meanings(vocabulary or Words())
    one = Draft(0, ids[:1], length, 0, SamplingSettings(**settings), meanings)
    for id_ in ids[1:]:
        if not one.ended:
            one.add(id_)
    return one


# ----- against slower ways --------------------------------------------------------------------------------------------


@torch.inference_mode()
def plain_greedy(model: GPT2LMHeadModel, prefix: list[int], length: int, never: Sequence[int]) -> list[int]:
    """Without a cache, every id read anew; the window is what `write` promises."""
    n_ctx = model.config.n_positions
    ids, window = list(prefix), list(prefix)
    if len(window) > n_ctx:
        window = window[-(n_ctx // 2) :]
    for _ in range(length):
        if len(window) > n_ctx:
            window = ids[-(n_ctx // 2) :]
        logits = model(torch.tensor([window])).logits[0, -1]
        logits[list(never)] = -torch.inf
        token = int(logits.argmax())
        ids.append(token)
        window.append(token)
    return ids[len(prefix) :]


@pytest.mark.parametrize("n_prefix", [1, 5, 31, 32, 33, 70])
def test_the_cache_changes_nothing_within_the_window_and_past_it(
    model: GPT2LMHeadModel, decoder: Decoder, n_prefix: int
) -> None:
    prefix = np.random.default_rng(n_prefix).integers(5, V, n_prefix).tolist()
    (ours,) = texts(decoder, prefix, 90, temperature=0.0)
    assert ours.ids == plain_greedy(model, prefix, 90, ENDLESS.never_sampled) and ours.ended == "length"


def test_greedy_is_stock_generate(model: GPT2LMHeadModel, decoder: Decoder) -> None:
    for first in range(5, 12):
        stock = model.generate(
            torch.tensor([[first, 6, 7]]), max_new_tokens=28, do_sample=False, suppress_tokens=[0, 1], eos_token_id=END
        )[0, 3:].tolist()
        (ours,) = texts(decoder, [first, 6, 7], 28, vocabulary=Words(), temperature=0.0)
        assert ours.ids == [token for token in stock if token != END]


def test_what_is_drawn_is_what_stock_generate_draws(model: GPT2LMHeadModel, decoder: Decoder) -> None:
    """The second token's distribution over 4,000 texts of each, temperature, top-k and top-p on."""
    n = 4000
    torch.manual_seed(0)
    stock = model.generate(
        torch.tensor([[5, 6, 7]]), max_new_tokens=2, min_new_tokens=2, do_sample=True, num_return_sequences=n,
        temperature=1.2, top_k=9, top_p=0.8, suppress_tokens=list(ENDLESS.never_sampled),
    )[:, 4]  # fmt: skip
    ours = texts(decoder, [5, 6, 7], 2, range(n), batch_size=500, temperature=1.2, top_k=9, top_p=0.8)
    shares = [torch.bincount(one, minlength=V) / n for one in (stock, torch.tensor([text.ids[1] for text in ours]))]
    assert (shares[0] - shares[1]).abs().max() < 0.04  # 3.6 standard errors where they are largest
    assert (shares[0] - shares[1]).abs().sum() < 0.15


# ----- each text as if it were alone ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"temperature": 1.5, "vocabulary": Words()},  # texts of many lengths, whose rows go to others
        {"top_k": 2, "break_loops": True, "temperature": 0.5},  # texts that are taken back
        {"repetition_penalty": 1.3, "penalty_window": 20, "no_repeat_ngram": 3},
        {"sentences": 3, "vocabulary": Words()},
    ],
    ids=str,
)
def test_a_text_depends_on_its_number_and_seed_not_on_its_batch(decoder: Decoder, settings: dict) -> None:
    alone = [texts(decoder, [5], 60, [number], 9, **settings)[0] for number in range(9)]
    for batch_size in (1, 2, 4, 9, 20):
        assert texts(decoder, [5], 60, range(9), 9, batch_size, **settings) == alone
    assert texts(decoder, [5], 60, [2, 0], 9, 2, **settings) == [alone[0], alone[2]]
    assert len({tuple(sample.ids) for sample in alone}) == 9
    assert texts(decoder, [5], 60, [0], 10, **settings)[0] != alone[0]


# ----- endings --------------------------------------------------------------------------------------------------------


def test_samples_stop_at_the_end_of_their_document_and_hold_nothing_banned(decoder: Decoder) -> None:
    samples = texts(decoder, [5], 300, range(8), 1, 8, vocabulary=Words(), temperature=2.0)
    assert {sample.ended for sample in samples} == {"document", "length"} or all(
        sample.ended == "document" for sample in samples
    )
    assert not {0, 1, END} & {token for sample in samples for token in sample.ids}
    on = texts(decoder, [5], 300, range(8), 1, 8, vocabulary=Words(), temperature=2.0, ignore_end=True)
    assert all(len(sample.ids) == 300 and END not in sample.ids for sample in on)


def test_a_sentence_is_finished_with_its_closing_quote() -> None:
    text = draft([5, 6, 7, STOP, QUOTE, 8], length=2, finish_sentence=True)
    assert (text.written, text.ended) == ([6, 7, STOP, QUOTE], "sentence")
    assert draft([5, 6, 7, STOP, NEWLINE], length=2, finish_sentence=True).written == [6, 7, STOP]
    assert draft([5, 6, 7, 8], length=2, finish_sentence=False).written == [6, 7]


def test_a_sentence_that_does_not_end_is_taken_back_to_the_one_before() -> None:
    text = draft([5, 6, STOP, *[7, 8] * 60], length=10, finish_sentence=True, break_loops=False)
    assert (text.written, text.ended) == ([6, STOP], "length")
    none = draft([5, *[7, 8] * 60], length=10, finish_sentence=True, break_loops=False)
    assert len(none.written) == 74


def test_so_many_sentences_are_written_and_no_document_ends_before() -> None:
    text = draft([5, 6, STOP, STOP, 7, COMMA, 8, STOP, QUOTE, 9], sentences=2)
    assert text.written == [6, STOP, STOP, 7, COMMA, 8, STOP, QUOTE] and text.ended == "sentence"
    one = draft([5, 6, STOP, 7], sentences=2)
    assert END in one.forbidden() and not one.ended
    assert END not in draft([5, 6, STOP], sentences=1).forbidden()


def test_sentences_come_from_a_model(decoder: Decoder) -> None:
    for sample in texts(decoder, [5], 2000, range(6), 4, 3, vocabulary=Words(), sentences=4):
        ends = [place for place, id_ in enumerate(sample.ids) if id_ == STOP]
        assert sample.ended == "sentence" and len(ends) >= 4 and set(sample.ids[ends[-1] :]) <= {STOP, QUOTE}


# ----- loops ----------------------------------------------------------------------------------------------------------


def test_a_text_that_goes_round_is_taken_back_and_the_way_is_barred() -> None:
    text = draft([5, 6, *[7, 8, 9] * 9])
    assert text.loops == 1 and text.written == [6, 7, 8, 9] and text.forbidden() == [7]
    kept = draft([5, 6, *[7, 8, 9] * 9], break_loops=False)
    assert kept.loops == 0 and len(kept.written) == 28


def test_a_text_without_a_way_out_ends() -> None:
    text = draft([5, 6])
    for _ in range(5000):
        if not text.ended:
            text.add(7)
    assert (text.ended, text.loops) == ("loop", MOST_LOOPS + 1) and text.written[:2] == [6, 7]


def test_greedy_writing_no_longer_ends_in_a_circle(decoder: Decoder) -> None:
    (kept,) = texts(decoder, [5], 300, temperature=0.0)
    (broken,) = texts(decoder, [5], 300, temperature=0.0, break_loops=True)
    assert repeated_by_definition(kept.ids) and not repeated_by_definition(broken.ids)
    assert broken.loops > 0 and (len(broken.ids) == 300 or broken.ended == "loop")


@torch.inference_mode()
def test_after_a_way_back_the_cache_holds_what_the_text_holds(model: GPT2LMHeadModel, decoder: Decoder) -> None:
    """Texts that are taken back, also to before their window, equal those of a loop that reads every id anew."""
    n_ctx, n_back = model.config.n_positions, 0
    for first in range(5, 9):
        settings = SamplingSettings(temperature=0.0)
        plain = Draft(0, [first, 6, 7], 200, 0, settings, Meanings(ENDLESS))
        while not plain.ended:
            if not 0 <= len(plain.ids) - 1 - plain.first < n_ctx:
                plain.first = len(plain.ids) - n_ctx // 2
            logits = model(torch.tensor([plain.ids[plain.first :]])).logits[0, -1]
            logits[[*ENDLESS.never_sampled, *plain.forbidden()]] = -torch.inf
            plain.add(int(logits.argmax()))
        assert texts(decoder, [first, 6, 7], 200, temperature=0.0, break_loops=True) == [plain.sample]
        n_back += plain.loops
    assert n_back


# ----- penalties ------------------------------------------------------------------------------------------------------


def test_the_penalty_reaches_the_prefix_and_makes_repeats_rarer(decoder: Decoder) -> None:
    def distinct(penalty: float) -> int:
        (sample,) = texts(decoder, [5, 6], 60, temperature=0.0, repetition_penalty=penalty)
        return len(set(sample.ids))

    assert distinct(5.0) > distinct(1.0)


def test_penalties_count_within_their_window_and_spare_punctuation() -> None:
    ids = [5, 6, 6, COMMA, 7, NEWLINE, 8, 6]
    assert dict(enumerate(draft(ids, presence_penalty=1.0).counts(V))) == {
        **dict.fromkeys(range(V), 0), 5: 1, 6: 3, 7: 1, 8: 1
    }  # fmt: skip
    near = draft(ids, presence_penalty=1.0, penalty_window=3).counts(V)
    assert {id_: n for id_, n in enumerate(near) if n} == {6: 1, 8: 1}
    assert not draft(ids).counts(V).any()


def test_no_ngram_comes_twice(decoder: Decoder) -> None:
    (sample,) = texts(decoder, [5, 6], 200, temperature=0.0, no_repeat_ngram=3)
    ids = [5, 6, *sample.ids]
    grams = [tuple(ids[place : place + 3]) for place in range(len(ids) - 2)]
    assert len(set(grams)) == len(grams)


# ----- in Python ------------------------------------------------------------------------------------------------------


def test_the_two_calls_of_a_program(model: GPT2LMHeadModel, decoder: Decoder) -> None:
    device, words = choose_device("cpu", "fp32"), Words()
    once = generate_once(words, model, device, prompt="FG", max_new_tokens=12, top_k=30, top_p=0.8, seed=4)
    several = generate_batch(
        words, decoder, device, prompt="FG", max_new_tokens=12, num_return_sequences=3, top_k=30, top_p=0.8, seed=4
    )
    assert once.startswith("FG") and several[0] == once and len(set(several)) == 3
