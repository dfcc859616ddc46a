"""From logits to a token: penalties, filters, one draw. Pure functions of arrays, a row a text.

    logits (B, V) -> penalties -> candidates (B, k), the most probable first -> filters -> one of them, (B,)

The order and the meaning of the filters are transformers' (tests compare the distributions): temperature, top-k, top-p, min-p,
typical; each works on what those before it left, so that after top-k only k numbers are sorted and summed. Top-n-sigma comes first of
them and XTC last, as in llama.cpp.
"""

import math

import torch

from gpt2zh.errors import UserError
from gpt2zh.generation.settings import SamplingSettings

# Tokens that nearly always hold top-p's probability, found in a tenth of the time that sorting V takes.
MOST_IN_NUCLEUS = 1024


# ----- penalties ------------------------------------------------------------------------------------------------------


def penalise_repetition(logits: torch.Tensor, seen: torch.Tensor, penalty: float) -> torch.Tensor:
    """Lower the logits of tokens that occurred: positive ones are divided by the penalty, negative ones multiplied.

    Args:
        logits: (B, V). seen: (B, V), bool.
    """
    return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


def penalise(logits: torch.Tensor, counts: torch.Tensor, settings: SamplingSettings) -> torch.Tensor:
    """All penalties. Args: logits (B, V); counts (B, V), how often each token occurred."""
    seen = counts > 0
    if settings.repetition_penalty != 1:
        logits = penalise_repetition(logits, seen, settings.repetition_penalty)
    if settings.presence_penalty or settings.frequency_penalty:
        logits = logits - settings.presence_penalty * seen - settings.frequency_penalty * counts
    return logits


# ----- filters: -inf for what is dropped ------------------------------------------------------------------------------


def keep_top_p(ordered: torch.Tensor, p: float, whole: torch.Tensor | None = None) -> torch.Tensor:
    """The smallest set of most probable tokens whose probabilities sum to p or more.

    Args:
        ordered: (B, k), largest first. whole: (B, V), what they were taken from, where the probabilities are shares of that.
    """
    if p in (0, 1):
        return ordered
    probabilities = (ordered - (ordered if whole is None else whole).logsumexp(-1, keepdim=True)).exp()
    beyond = probabilities.cumsum(-1) - probabilities >= p  # the sum before a token has reached p already
    return ordered.masked_fill(beyond, -torch.inf)


def keep_min_p(logits: torch.Tensor, p: float) -> torch.Tensor:
    """What is at least p times as probable as the most probable. Args: (B, k)."""
    if p == 0:
        return logits
    return logits.masked_fill(logits < logits.amax(-1, keepdim=True) + math.log(p), -torch.inf)


def keep_typical(logits: torch.Tensor, p: float) -> torch.Tensor:
    """The tokens whose information is nearest to the entropy, of probabilities that sum to p or more. Args: (B, k)."""
    if p in (0, 1):
        return logits
    information = -logits.log_softmax(-1)
    probabilities = logits.softmax(-1)
    entropy = torch.where(probabilities > 0, probabilities * information, 0).sum(-1, keepdim=True)
    order = (information - entropy).abs().argsort(stable=True)
    ordered = probabilities.gather(-1, order)
    beyond = ordered.cumsum(-1) - ordered >= p
    return logits.masked_fill(torch.zeros_like(beyond).scatter(-1, order, beyond), -torch.inf)


def keep_top_n_sigma(logits: torch.Tensor, n: float) -> torch.Tensor:
    """What is at most n standard deviations (of the logits that are left) below the highest. Args: (B, V)."""
    if n == 0:
        return logits
    finite = logits.isfinite()
    count = finite.sum(-1, keepdim=True)
    mean = torch.where(finite, logits, 0).sum(-1, keepdim=True) / count
    deviation = (torch.where(finite, logits - mean, 0).square().sum(-1, keepdim=True) / count).sqrt()
    return logits.masked_fill(logits < logits.amax(-1, keepdim=True) - n * deviation, -torch.inf)


def exclude_top(logits: torch.Tensor, threshold: float, rows: torch.Tensor) -> torch.Tensor:
    """XTC: leave out the tokens of a probability of `threshold` or more, but the least probable of them.

    Args:
        logits: (B, k). rows: (B,), bool, where to do so.
    """
    above = logits.softmax(-1) >= threshold
    least = logits.masked_fill(~above, torch.inf).amin(-1, keepdim=True)
    return logits.masked_fill(above & (logits > least) & rows[:, None], -torch.inf)


def candidates(logits: torch.Tensor, settings: SamplingSettings) -> tuple[torch.Tensor, torch.Tensor | None]:
    """What may be chosen: logits over the temperature, -inf for what is dropped, and their ids; None where it is all of V in order.

    Args:
        logits: (B, V), fp32, penalties done. The temperature is above 0.
    """
    if settings.temperature != 1:
        logits = logits / settings.temperature
    logits = keep_top_n_sigma(logits, settings.top_n_sigma)
    ids = None
    if 0 < settings.top_k < logits.shape[-1]:
        logits, ids = logits.topk(settings.top_k)
        logits = keep_top_p(logits, settings.top_p)
    elif settings.top_p not in (0, 1):
        logits, ids = nucleus(logits, settings.top_p)
    logits = keep_min_p(logits, settings.min_p)
    return keep_typical(logits, settings.typical_p), ids


def nucleus(logits: torch.Tensor, p: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Top-p of all of V: the most probable tokens, largest first, -inf for what is beyond p; and their ids."""
    if logits.shape[-1] <= MOST_IN_NUCLEUS:
        ordered, ids = logits.sort(descending=True, stable=True)
        return keep_top_p(ordered, p, logits), ids
    few, few_ids = logits.topk(MOST_IN_NUCLEUS)
    few = keep_top_p(few, p, logits)
    enough = few[:, -1] == -torch.inf  # (B,)
    if enough.all():
        return few, few_ids
    ordered, ids = logits.sort(descending=True, stable=True)
    ordered = keep_top_p(ordered, p, logits)
    # Equal logits may come in another order from topk: a row takes its own way, whatever the others need.
    ordered[enough] = -torch.inf
    ordered[enough, :MOST_IN_NUCLEUS], ids[enough, :MOST_IN_NUCLEUS] = few[enough], few_ids[enough]
    return ordered, ids


def choose(
    logits: torch.Tensor, settings: SamplingSettings, uniform: torch.Tensor, excludes: torch.Tensor | None = None
) -> torch.Tensor:
    """The next token of each row.

    Args:
        logits: (B, V), fp32, penalties done, -inf for what must not come.
        uniform: (B,), in [0, 1), the random numbers to choose by.
        excludes: (B,), bool, the rows on which XTC acts; None: on none.

    Returns:
        Ids, (B,).
    """
    if settings.temperature == 0:
        return logits.argmax(-1)
    logits, ids = candidates(logits, settings)
    if excludes is not None:
        logits = exclude_top(logits, settings.xtc_threshold, excludes)
    cumulative = logits.double().softmax(-1).cumsum(-1)  # (B, k)
    totals = cumulative[:, -1:]
    if not math.isfinite(totals.sum().item()):
        raise UserError(
            f"模型给出的概率不是数：权重已发散，或 --temperature {settings.temperature}、--repetition_penalty {settings.repetition_penalty} 太极端。",
            f"the model's probabilities are not numbers: its weights diverged, or --temperature {settings.temperature}, --repetition_penalty {settings.repetition_penalty} are too extreme.",
        )
    # Inverse transform: the first token whose cumulative probability exceeds u. u is scaled by the sum, which rounding
    # leaves a little off 1, and tokens of probability 0 add nothing, so none of them is ever the first.
    place = torch.searchsorted(cumulative, uniform[:, None] * totals, right=True).clamp_(max=logits.shape[-1] - 1)
    return (place if ids is None else ids.gather(-1, place))[:, 0]
