"""What one column's word says about another's: `zip -> city`, `provider -> phone`, learned as tables of majorities.

A dependency is taken from history when, of rows that share the first word, the others' majority says what a row's
second word is, nearly always, in nearly every group, and twice as well as the most frequent word would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

from ae_plugin.core.values import Bools

Codes = npt.NDArray[np.int64]

COLUMNS, VALUES, SOURCES = 40, 20_000, 8
"""At most so many columns are looked at, so many words of a dependency kept, and so many dependencies for a column."""
GROUP, AGAIN = 3, 3
AGREEMENT, LESS_WRONG, PURE, PURE_GROUPS, COVERED = 0.9, 0.7, 0.7, 0.95, 0.3


class Dependency(BaseModel):
    """Word of column `of` -> the word that column `to` has with it, and how many rows said so.

    `others` are the exceptions that history holds again and again, each beside the place of its word in `words`: two
    airports may be equally far away, and a slip of the pen is rarely made three times in the same place.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    of: str
    to: str
    agreement: float
    words: list[str]
    expected: list[str]
    rows: list[int]
    others: list[tuple[int, str]]

    @cached_property
    def _exceptions(self) -> tuple[pa.Array, Codes]:
        words = pa.array(sorted({word for _, word in self.others}), pa.string())
        places = pc.index_in(pa.array([word for _, word in self.others], pa.string()), value_set=words)
        of = np.array([place for place, _ in self.others], np.int64)
        return words, of * max(len(words), 1) + places.to_numpy(zero_copy_only=False).astype(np.int64)

    @cached_property
    def _set(self) -> pa.Array:
        return pa.array(self.words, pa.string())

    @cached_property
    def _rows(self) -> Codes:
        return np.array([*self.rows, 0], np.int64)

    @cached_property
    def _expected(self) -> pa.Array:
        return pa.array([*self.expected, None], pa.string())

    def look_up(self, words: pa.Array, seconds: pa.Array) -> Answer:
        """Ask what belongs to the words of `of`, string [n], and whether the words of `to` do, string [n]."""
        found = pc.index_in(words, value_set=self._set).fill_null(len(self.words))
        place = found.to_numpy(zero_copy_only=False)
        expected = self._expected.take(found)
        same = pc.equal(expected, seconds)
        against = pc.fill_null(pc.invert(same), False).to_numpy(zero_copy_only=False)
        if self.others:
            known, pairs = self._exceptions
            second = pc.index_in(seconds, value_set=known).fill_null(-1).to_numpy(zero_copy_only=False)
            against = against & ~((second >= 0) & np.isin(place * len(known) + second.astype(np.int64), pairs))
        return Answer(expected, self._rows[place], pc.fill_null(same, False).to_numpy(zero_copy_only=False), against)


@dataclass(frozen=True)
class Answer:
    """What one dependency says of n rows.

    Attributes:
        expected: string [n], null where nothing is known.
        rows: int64 [n], training rows that had the word of `of`.
        for_it: bool [n], the cell in `to` is as expected.
        against: bool [n], it is not.
    """

    expected: pa.Array
    rows: Codes
    for_it: Bools
    against: Bools


@dataclass(frozen=True)
class Codings:
    """A column of training rows as codes int64 [n], -1 for null, and its distinct words."""

    codes: Codes
    words: list[str]


def learn_dependencies(columns: dict[str, pa.Array], texts: set[str]) -> list[Dependency]:
    """Learn which column's words tell another's.

    Args:
        columns: name -> training rows as strings; all of one length.
        texts: those that hold words rather than whole numbers; one side of each dependency does.
    """
    coded: dict[str, Codings] = {}
    for name, column in list(columns.items())[:COLUMNS]:
        words = column.dictionary_encode()
        codes = words.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        if 1 < len(words.dictionary) <= max(len(codes) // 2, 1):
            coded[name] = Codings(codes, words.dictionary.to_pylist())
    out: list[Dependency] = []
    for to, second in coded.items():
        found = [
            _learn(of, to, first, second)
            for of, first in coded.items()
            if of != to and (of in texts or to in texts) and len(first.words) > 1
        ]
        known = [dependency for dependency in found if dependency is not None]
        out += sorted(known, key=lambda dependency: -dependency.agreement)[:SOURCES]
    return out


def _learn(of: str, to: str, first: Codings, second: Codings) -> Dependency | None:
    there = (first.codes >= 0) & (second.codes >= 0)
    a, b = first.codes[there], second.codes[there]
    if len(a) < 2 * GROUP:
        return None
    pairs, counts = np.unique(a * len(second.words) + b, return_counts=True)
    group, word = pairs // len(second.words), pairs % len(second.words)
    order = np.lexsort((word, -counts, group))
    group, word, counts = group[order], word[order], counts[order]
    starts = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
    sizes, top = np.add.reduceat(counts, starts), counts[starts]
    runner = np.zeros(len(starts), np.int64)
    several = np.flatnonzero(np.diff(np.r_[starts, len(group)]) > 1)
    runner[several] = counts[starts[several] + 1]
    large = sizes >= GROUP
    covered = int(sizes[large].sum())
    if covered < COVERED * len(a):
        return None
    agreement = float(np.where(top - 1 > runner, top, 0)[large].sum() / covered)
    baseline = float(np.bincount(b).max() / len(b))
    sound = large & (top >= PURE * sizes) & (top - runner >= GROUP - 1)
    telling = sizes >= 2 * GROUP - 1
    pure = float(sound[telling].mean()) if telling.any() else float(sound[large].mean())
    if agreement < AGREEMENT or 1 - agreement > LESS_WRONG * (1 - baseline) or pure < PURE_GROUPS:
        return None
    kept = np.flatnonzero(sound)[:VALUES]
    chosen = starts[kept]
    place = np.full(len(starts), -1)
    place[kept] = np.arange(len(kept))
    of_pair = place[np.cumsum(np.isin(np.arange(len(group)), starts)) - 1]
    again = np.flatnonzero((of_pair >= 0) & (counts >= AGAIN) & ~np.isin(np.arange(len(group)), starts))[:VALUES]
    return Dependency(
        of=of,
        to=to,
        agreement=agreement,
        words=[first.words[i] for i in group[chosen]],
        expected=[second.words[i] for i in word[chosen]],
        rows=sizes[kept].tolist(),
        others=[(int(of_pair[i]), second.words[word[i]]) for i in again],
    )


@dataclass(frozen=True)
class Votes:
    """What dependencies say of n rows.

    Attributes:
        wrong: name of a column -> bool [n], cells that do not follow from the others.
        expected: name of a column -> string [n], what most dependencies say; null where none does.
        confirmed: name of a column -> bool [n], cells that hold what some dependency says.
    """

    wrong: dict[str, Bools]
    expected: dict[str, pa.Array]
    confirmed: dict[str, Bools]


def ask(dependencies: Sequence[Dependency], columns: dict[str, pa.Array]) -> Votes:
    """Let dependencies judge rows: a cell is wrong when more of them are against it than for it.

    The cell with most against it is taken first, of equals the one with the rarer word, and no longer has a say in the
    others: `Preschool` with 13 years of education is one wrong cell, not two.

    Args:
        dependencies: learned.
        columns: name -> string [n], all columns that they name.
    """
    if not dependencies:
        return Votes({}, {}, {})
    names = sorted({name for d in dependencies for name in (d.of, d.to)})
    place = {name: index for index, name in enumerate(names)}
    rows = len(columns[names[0]])
    answers = [d.look_up(columns[d.of], columns[d.to]) for d in dependencies]
    for_it, against = [answer.for_it for answer in answers], [answer.against for answer in answers]
    seen = np.zeros((rows, len(names)), np.int64)
    for dependency, answer in zip(dependencies, answers, strict=True):
        giver = place[dependency.of]
        seen[:, giver] = np.maximum(seen[:, giver], answer.rows)
    of = np.array([place[d.of] for d in dependencies], np.intp)
    to = np.array([place[d.to] for d in dependencies], np.intp)
    wrong = _take_worst(np.stack(for_it, 1), np.stack(against, 1), of, to, seen)
    expected = {}
    for name, index in place.items():
        own = [d for d in range(len(dependencies)) if to[d] == index]
        if own:
            # A cell found wrong has no say in what another should have been.
            told = [
                pc.if_else(pa.array(wrong[:, of[d]]), pa.scalar(None, pa.string()), answers[d].expected) for d in own
            ]
            expected[name] = _most(told)
    return Votes(
        {name: wrong[:, index] for name, index in place.items()},
        expected,
        {
            name: np.any([for_it[d] for d in range(len(to)) if to[d] == index], axis=0)
            for name, index in place.items()
            if name in expected
        },
    )


def _take_worst(
    for_it: Bools, against: Bools, of: npt.NDArray[np.intp], to: npt.NDArray[np.intp], seen: Codes
) -> Bools:
    """Cells found wrong, the worst of each row first: bool [n, names]."""
    rows, names = seen.shape
    against = against & ~_unreliable(for_it, against, of, names)
    wrong = np.zeros((rows, names), bool)
    active = np.flatnonzero(against.any(axis=1))
    receives = np.zeros((len(to), names), np.int64)
    receives[np.arange(len(to)), to] = 1
    gives = np.zeros((len(of), names), np.int64)
    gives[np.arange(len(of)), of] = 1
    for _ in range(names):
        heard = ~wrong[active][:, of]
        minus = (against[active] & heard) @ receives
        lead = minus - (for_it[active] & heard) @ receives
        # Who is contradicted and contradicts others is likelier to be the one that is wrong.
        blame = minus + ((against[active] & ~wrong[active][:, to]) @ gives)
        candidates = (lead > 0) & ~wrong[active]
        rank = np.where(candidates, blame - seen[active] / (seen.max(initial=0) + 1.0), -np.inf)
        worst = rank.argmax(axis=1)
        found = candidates[np.arange(len(active)), worst]
        wrong[active[found], worst[found]] = True
        active = active[found]
        if not len(active):
            break
    return wrong


def _unreliable(for_it: Bools, against: Bools, of: npt.NDArray[np.intp], names: int) -> Bools:
    """Dependencies whose first cell contradicts two others and most of its row: that cell tells of another row."""
    out = np.zeros_like(against)
    for name in range(names):
        own = of == name
        minus, plus = against[:, own].sum(axis=1), for_it[:, own].sum(axis=1)
        out[:, own] = ((minus > 1) & (minus > plus))[:, None]
    return out


def _most(told: list[pa.Array]) -> pa.Array:
    """The word said most often of each row, of equals the one said first; string [n]."""
    words = pa.chunked_array(told).combine_chunks().dictionary_encode()
    codes = words.indices.fill_null(-1).to_numpy(zero_copy_only=False).reshape(len(told), -1)
    same = (codes[:, None, :] == codes[None, :, :]) & (codes >= 0)[:, None, :]
    best = codes[same.sum(axis=1).argmax(axis=0), np.arange(codes.shape[1])]
    return words.dictionary.take(pa.array(best, mask=best < 0))
