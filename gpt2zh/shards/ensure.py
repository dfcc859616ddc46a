"""The shards that a run asks for: those that are there, or new ones where they are missing, stale or wanted anew.

In: a corpus (or none), a folder, a tokenizer, what decides which documents are read. Out: the folder, ready for `open_shards`.
Refuses: a folder that another process writes to; what `check` refuses, before anything is built.
"""

from collections.abc import Callable
from pathlib import Path

from gpt2zh.errors import say
from gpt2zh.shards.build import DocumentEncoder, build_shards
from gpt2zh.shards.format import CORPUS_IDENTITY, ShardSettings, differences
from gpt2zh.system.lock import only_owner
from gpt2zh.text.corpus import Corpus
from gpt2zh.text.identity import identify


def ensure_shards(
    source: Path,
    folder: Path,
    tokenizer: DocumentEncoder,
    min_length: int,
    val_ratio: float,
    num_pieces: int,
    anew: bool,
    check: Callable[[ShardSettings], None],
) -> None:
    """Build the shards of a corpus into `folder` where they are missing or stale. Without a corpus, nothing happens.

    Args:
        source: the corpus: a file or a folder; it need not exist, unless `anew`.
        min_length: characters; shorter documents are left out.
        val_ratio: share of the characters that is held out for validation, by whole documents.
        num_pieces: files of ids.
        anew: build them in any case.
        check: called with the settings of the wanted shards before anything is built; raises what speaks against them.

    Raises:
        UserError: no corpus, no text in it, a corpus that changes while it is read.
        EnvironmentFault: another process writes to `folder`.
    """
    if not (anew or source.exists()):
        return
    corpus = Corpus(source)
    identity = identify(source, folder / CORPUS_IDENTITY)
    settings = ShardSettings(
        corpus_sha256=identity.sha256,
        tokenizer=tokenizer.fingerprint,
        vocab_size=len(tokenizer),
        min_length=min_length,
        val_ratio=val_ratio,
        num_pieces=num_pieces,
    )
    check(settings)
    changed = differences(folder, settings)
    if anew or changed:
        if not anew:
            say(
                f"{folder} 的分片没有或已过时，重新切分：{'；'.join(zh for zh, _ in changed)}",
                f"the shards in {folder} are missing or stale and are built anew: {'; '.join(en for _, en in changed)}",
            )
        with only_owner(folder):
            # Pieces of a build with these settings that was killed are taken over; `anew` makes finished shards again.
            build_shards(folder, corpus, tokenizer, settings, anew=not changed)
        for note in corpus.notes():
            say(*note)
        say(
            f"语料 {source}：另有空白 {corpus.n_empty} 篇，不收",
            f"corpus {source}: {corpus.n_empty} blank documents are left out",
        )
    identity.remember(folder / CORPUS_IDENTITY)
