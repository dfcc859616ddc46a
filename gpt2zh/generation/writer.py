"""A model at work: prompts in, samples out, shown on the screen as they are written or when each is finished.

In: a tokenizer, a `Decoder`, how to write. Out: `Sample`s, as soon as each has ended. All texts that are asked for together are written
together, whatever their prompts: a row of the engine whose text has ended goes to the next.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from tqdm import tqdm

from gpt2zh.console import visible
from gpt2zh.errors import say
from gpt2zh.generation.decoder import Decoder
from gpt2zh.generation.draft import Vocabulary
from gpt2zh.generation.engine import write
from gpt2zh.generation.requests import Event, Finished, Request
from gpt2zh.generation.samples import Sample, sample_block
from gpt2zh.generation.screen import Screen, Stream
from gpt2zh.generation.settings import SamplingSettings
from gpt2zh.generation.wording import wording_of


class Tokenizer(Vocabulary, Protocol):
    """Text <-> ids, and which ids mean what."""

    def encode(self, text: str) -> Iterable[int]: ...

    def encode_prefix(self, prefix: str, raw: bool = False) -> list[int]: ...

    def decode(self, ids: Sequence[int]) -> str: ...

    def decode_after(self, prefix: str, prefix_ids: Sequence[int], ids: Sequence[int]) -> str: ...


@dataclass(frozen=True)
class Manner:
    """How a writer writes.

    Args:
        length: new tokens of a text, at most.
        rows: texts at a time; changes no text.
        raw_prefix: read prompts as they are.
        stream: show a text while it is written; one at a time.
        ban, bias, stop: words that are barred, favoured, or end a text; see `wording`.
    """

    settings: SamplingSettings
    seed: int
    length: int
    rows: int = 1
    raw_prefix: bool = False
    stream: bool = False
    ban: Sequence[str] = ()
    bias: Sequence[tuple[str, float]] = ()
    stop: Sequence[str] = ()


class Writer:
    """A loaded model, its tokenizer and how it is to write.

    Args:
        new_stream: gives what turns ids that come one by one into text.
    """

    def __init__(
        self, tokenizer: Tokenizer, decoder: Decoder, manner: Manner, new_stream: Callable[[], Stream]
    ) -> None:
        self.tokenizer, self.decoder, self.manner, self.new_stream = tokenizer, decoder, manner, new_stream
        self.wording = wording_of(tokenizer.encode, manner.ban, manner.bias, manner.stop)
        self.n_written, self.seconds = 0, 0.0  # tokens, those taken back included

    def samples(self, prompts: Sequence[str], n: int) -> Iterator[tuple[int, Sample]]:
        """Write n texts for each prompt; show them in order.

        Yields:
            The prompt's index and the text, as each ends; before it is shown.
        """
        prefixes = [self.tokenizer.encode_prefix(prompt, self.manner.raw_prefix) for prompt in prompts]
        requests = [self._request(prefix, number) for prefix in prefixes for number in range(n)]
        screen = Screen(self.new_stream, self.tokenizer.decode) if self.manner.stream else None
        ended: dict[int, Sample] = {}
        began, n_shown, on_screen = time.perf_counter(), 0, -1
        with tqdm(total=len(requests) * self.manner.length, unit="tok", disable=True if screen else None) as bar:
            for place, event in self._events(requests):
                bar.update(1)
                i, number = divmod(place, n)
                if screen and place != on_screen:
                    screen.open(number + 1, prompts[i])
                    on_screen = place
                if screen:
                    screen.show(event)
                if event.finished:
                    ended[place] = self._sample(prompts[i], prefixes[i], event.finished)
                    yield i, ended[place]
                while n_shown in ended:
                    show(ended.pop(n_shown), screen)
                    n_shown += 1
        self.seconds += time.perf_counter() - began

    def continue_text(self, text: str, attempt: int) -> str:
        """Write on after `text`, showing it; Ctrl-C ends it early. Attempts with other numbers write other texts."""
        prefix = self.tokenizer.encode_prefix(text, self.manner.raw_prefix)
        screen = Screen(self.new_stream, self.tokenizer.decode)
        try:
            for _, event in self._events([self._request(prefix, attempt)]):
                screen.show(event)
        except KeyboardInterrupt:
            pass
        print(flush=True)
        before, whole = self.tokenizer.decode(prefix), self.tokenizer.decode([*prefix, *screen.ids])
        return whole[len(before) :] if whole.startswith(before) else self.tokenizer.decode(screen.ids)

    def _request(self, prefix: Sequence[int], number: int) -> Request:
        return Request(prefix, number, self.manner.length, self.manner.seed, self.manner.settings, self.wording)

    def _events(self, requests: Sequence[Request]) -> Iterator[tuple[int, Event]]:
        """The events of `requests`, each with the index of its request; counted."""
        for place, event in write(self.decoder, self.tokenizer, requests, self.manner.rows):
            self.n_written += 1
            yield place, event

    def _sample(self, prompt: str, prefix: Sequence[int], text: Finished) -> Sample:
        whole = self.tokenizer.decode_after(prompt, prefix, text.ids)
        return Sample(text.number + 1, whole, text.ids, text.ended, text.loops)

    @property
    def tokens_per_second(self) -> float:
        """Tokens written, those taken back included, per second of writing."""
        return round(self.n_written / self.seconds, 1) if self.seconds else 0.0

    def report(self) -> None:
        """Say how fast it was."""
        say(
            f"写了 {self.n_written} 词元，每秒 {self.tokens_per_second} 个",
            f"{self.n_written} tokens written, {self.tokens_per_second} a second",
        )


def show(sample: Sample, screen: Screen | None) -> None:
    """Print a finished text; where it stands on the screen already, only the end of its block."""
    if screen:
        screen.close()
    else:
        tqdm.write(visible(sample_block(sample.number, sample.text)).rstrip("\n"))
    if sample.loops:
        tqdm.write(f"（退出循环 {sample.loops} 次 / taken out of {sample.loops} loops）")
