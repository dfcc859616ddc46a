"""The engine against a model without cache, and against transformers; texts that do not know of each other; requests that come and go."""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from conftest import TINY_CONFIG
from test_loops import repeated_by_definition
from tiny_texts import END, ENDLESS, QUOTE, STOP, V, Words, request, run, texts
from transformers import GPT2Config, GPT2LMHeadModel

from gpt2zh.device import choose_device
from gpt2zh.generation.decoder import Decoder, make_decoder
from gpt2zh.generation.draft import Draft, Meanings
from gpt2zh.generation.engine import Engine, room_for
from gpt2zh.generation.requests import Finished
from gpt2zh.model.shape import shape_of
from gpt2zh.model.stock import ControlIds, new_model
from gpt2zh.sampling import continue_ids, finish, generate_batch, generate_once


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


# ----- against slower ways --------------------------------------------------------------------------------------------


@torch.inference_mode()
def plain_greedy(model: GPT2LMHeadModel, prefix: list[int], length: int, never: Sequence[int]) -> list[int]:
    """Without a cache, every id read anew; the window is what `Engine` promises."""
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
    ours = texts(decoder, [5, 6, 7], 2, range(n), rows=500, temperature=1.2, top_k=9, top_p=0.8)
    shares = [torch.bincount(one, minlength=V) / n for one in (stock, torch.tensor([text.ids[1] for text in ours]))]
    assert (shares[0] - shares[1]).abs().max() < 0.04  # 3.6 standard errors where they are largest
    assert (shares[0] - shares[1]).abs().sum() < 0.15


# ----- each text as if it were alone ----------------------------------------------------------------------------------


@pytest.mark.slow
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
def test_a_text_depends_on_its_number_and_seed_not_on_the_rows(decoder: Decoder, settings: dict) -> None:
    alone = [texts(decoder, [5], 60, [number], 9, **settings)[0] for number in range(9)]
    for rows in (1, 2, 4, 9, 20):
        assert texts(decoder, [5], 60, range(9), 9, rows, **settings) == alone
    assert texts(decoder, [5], 60, [2, 0], 9, 2, **settings) == [alone[2], alone[0]]
    assert len({tuple(sample.ids) for sample in alone}) == 9
    assert texts(decoder, [5], 60, [0], 10, **settings)[0] != alone[0]


# ----- requests that come and go --------------------------------------------------------------------------------------

PREFIXES = ([5], [6, 7, 8], [9] * 31, [*range(5, 39)] * 2)  # the last one is longer than the window
MANNERS = (
    {"temperature": 1.5},
    {"temperature": 0.0, "break_loops": True},
    {"top_p": 0.9, "repetition_penalty": 1.3, "no_repeat_ngram": 3},
    {"top_k": 2, "break_loops": True, "temperature": 0.5, "finish_sentence": True},
    {"sentences": 3, "ignore_end": True},
)
MIXED = [
    request(prefix, 10 + 13 * number, number, seed=number % 3, **manner)
    for number, (prefix, manner) in enumerate(itertools.product(PREFIXES, MANNERS))
]


@pytest.fixture(scope="module")
def alone(decoder: Decoder) -> list[Finished]:
    """Each of MIXED as it is written alone."""
    return [finish(decoder, Words(), [one], 1)[0] for one in MIXED]


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 3, 20])
def test_requests_of_all_kinds_are_written_as_if_each_were_alone(
    decoder: Decoder, alone: list[Finished], rows: int
) -> None:
    assert finish(decoder, Words(), MIXED, rows) == alone
    order = np.random.default_rng(rows).permutation(len(MIXED))
    shuffled = finish(decoder, Words(), [MIXED[place] for place in order], rows)
    assert shuffled == [alone[place] for place in order]


def test_requests_that_come_late_change_no_text(decoder: Decoder, alone: list[Finished]) -> None:
    engine, found, ids = Engine(decoder, Words(), rows=3), {}, []
    for one in MIXED:
        ids.append(engine.add(one))
        for _ in range(4):
            found |= {event.id: event.finished for event in engine.step() if event.finished}
    found |= {id_: text for id_, text in run(engine, whole=False).items()}
    assert [found[id_] for id_ in ids] == alone and not engine.step()


@pytest.mark.slow
@pytest.mark.parametrize("after", [0, 1, 9])
def test_what_is_cancelled_is_heard_of_no_more_and_changes_no_other_text(
    decoder: Decoder, alone: list[Finished], after: int
) -> None:
    engine = Engine(decoder, Words(), rows=4, capacity=room_for(MIXED))
    ids = [engine.add(one) for one in MIXED]
    found = {}
    for _ in range(after):
        found |= {event.id: event.finished for event in engine.step() if event.finished}
    cancelled = {ids[place] for place in (0, 2, 3, 11, 19)} - {*found}  # at work, and waiting
    for id_ in cancelled:
        engine.cancel(id_)
    found |= run(engine, whole=False)
    assert found == {id_: text for id_, text in zip(ids, alone) if id_ not in cancelled}
    engine.cancel(ids[1])  # ended long since
    assert not engine.busy and not engine.step()


def test_a_prefix_is_read_once_for_requests_that_follow_each_other(decoder: Decoder) -> None:
    engine = Engine(decoder, ENDLESS, rows=2)
    reads, read = [], engine.cache.read
    engine.cache.read = lambda ids, row: (reads.append(tuple(ids)), read(ids, row))
    for prefix, number in itertools.product(([5, 6], [7, 8, 9]), range(5)):
        engine.add(request(list(prefix), 3, number))
    run(engine)
    assert reads == [(5,), (7, 8)]


def test_what_no_row_has_room_for_is_refused(decoder: Decoder) -> None:
    engine = Engine(decoder, ENDLESS, rows=1, capacity=8)
    for prefix, length, words in (([], 5, "at least one"), ([5] * 8, 1, "8")):
        with pytest.raises(ValueError, match=words):
            engine.add(request(prefix, length))
    assert not engine.busy
    Engine(decoder, ENDLESS, rows=1).add(request([5] * 100, 1000))  # the window moves on


# ----- endings --------------------------------------------------------------------------------------------------------


def test_samples_stop_at_the_end_of_their_document_and_hold_nothing_banned(decoder: Decoder) -> None:
    samples = texts(decoder, [5], 300, range(8), 1, 8, vocabulary=Words(), temperature=2.0)
    assert {sample.ended for sample in samples} == {"document", "length"} or all(
        sample.ended == "document" for sample in samples
    )
    assert not {0, 1, END} & {token for sample in samples for token in sample.ids}
    on = texts(decoder, [5], 300, range(8), 1, 8, vocabulary=Words(), temperature=2.0, ignore_end=True)
    assert all(len(sample.ids) == 300 and END not in sample.ids for sample in on)


def test_sentences_come_from_a_model(decoder: Decoder) -> None:
    for sample in texts(decoder, [5], 2000, range(6), 4, 3, vocabulary=Words(), sentences=4):
        ends = [place for place, id_ in enumerate(sample.ids) if id_ == STOP]
        assert sample.ended == "sentence" and len(ends) >= 4 and set(sample.ids[ends[-1] :]) <= {STOP, QUOTE}


# ----- loops ----------------------------------------------------------------------------------------------------------


def test_greedy_writing_no_longer_ends_in_a_circle(decoder: Decoder) -> None:
    (kept,) = texts(decoder, [5], 300, temperature=0.0)
    (broken,) = texts(decoder, [5], 300, temperature=0.0, break_loops=True)
    assert repeated_by_definition(kept.ids) and not repeated_by_definition(broken.ids)
    assert broken.loops > 0 and (len(broken.ids) == 300 or broken.ended == "loop")


@pytest.mark.slow
@torch.inference_mode()
def test_after_a_way_back_the_cache_holds_what_the_text_holds(model: GPT2LMHeadModel, decoder: Decoder) -> None:
    """Texts that are taken back, also to before their window, equal those of a loop that reads every id anew."""
    n_ctx, n_back = model.config.n_positions, 0
    for first in range(5, 9):
        plain = Draft(request([first, 6, 7], 200, temperature=0.0, break_loops=True), Meanings(ENDLESS))
        while not plain.ended:
            if not 0 <= len(plain.ids) - 1 - plain.first < n_ctx:
                plain.first = len(plain.ids) - n_ctx // 2
            logits = model(torch.tensor([plain.ids[plain.first :]])).logits[0, -1]
            logits[[*ENDLESS.never_sampled, *plain.forbidden()]] = -torch.inf
            plain.add(int(logits.argmax()))
        assert texts(decoder, [first, 6, 7], 200, temperature=0.0, break_loops=True) == [plain.finished]
        n_back += plain.loops
    assert n_back


# ----- penalties ------------------------------------------------------------------------------------------------------


def test_the_penalty_reaches_the_prefix_and_makes_repeats_rarer(decoder: Decoder) -> None:
    def distinct(penalty: float) -> int:
        (sample,) = texts(decoder, [5, 6], 60, temperature=0.0, repetition_penalty=penalty)
        return len(set(sample.ids))

    assert distinct(5.0) > distinct(1.0)


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


def test_ids_that_come_next_are_those_of_a_text(model: GPT2LMHeadModel, decoder: Decoder) -> None:
    one = request([5, 6], 12, seed=4, top_k=8)
    (text,) = finish(decoder, Words(), [one], 1)
    for written_by in (model, decoder):
        ids = continue_ids(Words(), written_by, choose_device("cpu", "fp32"), [5, 6], 12, 4, one.settings)
        assert ids == text.ids
