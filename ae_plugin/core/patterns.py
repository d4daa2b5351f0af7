"""How the words of a column are written: units, shapes and spellings, learned from the words and their counts.

Four ways to be wrong, each judged from the word alone, so that nobody has to look at the rest of the row:

    unit       `0.09%` among `0.09`, `12 OZ.` among `12 oz.`: the number is written otherwise than most are
    shape      `3593x` among zip codes: a letter where the column has digits, or the like
    spelling   `heaxt failure` among many `heart failure`: a rare word close to a frequent one
    length     `EWRR` or `EW` among codes of three letters: too short to be compared by their letters

Digits are never misspelt: `scip-inf-1` and `scip-inf-2` are two words, however close they are; nor are codes, in which
letters touch digits.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field
from rapidfuzz.distance import OSA
from rapidfuzz.process import cdist

WORDS, FORMS = 1000, 50
"""At most so many words, shapes and unit forms of a column are kept."""
CLOSED, TYPICAL = 0.8, 0.9
"""Share of rows with frequent words from which on a rare word is suspect; and with typical shapes, a rare shape."""
FREQUENT = 5
SHORT, SAME_LENGTH, CODES = 3, 0.95, 3
"""Words of so many letters are codes where such a share of rows, and so many frequent words at least, have as many."""
RATIO = 10.0
"""A word is at least so often there for each misspelling of it; where one slip was made n times, n times that."""
LETTERS_PER_SLIP = 8
TYPICAL_SHAPE, RARE_SHAPE, RARE_WORD = 0.1, 0.02, 0.005
ALIKE = 0.15
"""Largest distance of two distribution functions of numbers in one unit, beside what chance allows."""
LONGEST = 300
"""Letters of a word that are looked at."""
_BLOCK = 1024

_NUMBER = re.compile(r"([+-]?\d+(?:[.,]\d+)*)(\D*)")
_DIGITS = re.compile(r"\d+")
_LETTERS = re.compile(r"[^\W\d_]+")
_MARKS = re.compile(r"[^\w\s]|_")
_WORDS = re.compile(r"a(?: ?a)+")
_CODE = re.compile(r"[^\W\d_]#|#[^\W\d_]")
_SYNONYMS = {
    word: unit
    for unit, words in {
        "oz": "ounce ounces",
        "lb": "lbs pound pounds",
        "kg": "kgs kilo kilos kilogram kilograms",
        "g": "gram grams gramme grammes",
        "l": "liter liters litre litres",
        "ml": "milliliter milliliters millilitre millilitres",
        "h": "hr hrs hour hours",
        "min": "mins minute minutes",
        "s": "sec secs second seconds",
        "yr": "yrs year years",
        "in": "inch inches",
        "ft": "foot feet",
        "km": "kilometer kilometers kilometre kilometres",
        "mi": "mile miles",
        "": "percent pct",
    }.items()
    for word in words.split()
}


@dataclass(frozen=True)
class Word:
    """What is wrong with a word: `why`, and what it should have been, if that can be told from the word alone."""

    why: str
    repair: str | None


class Pattern(BaseModel):
    """How one column's words are written. Empty parts: nothing is judged that way."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    column: str
    rows: int = Field(description="Rows with a word.")
    forms: dict[str, str] = Field(default_factory=dict, description="Unit form to replace -> the usual form.")
    shapes: list[str] = Field(default_factory=list, description="Shapes that are not rare.")
    spellings: dict[str, int] = Field(default_factory=dict, description="Words, digits as #, and their counts.")
    common: list[str] = Field(default_factory=list, description="Words too frequent to be judged by their shape.")
    length: int | None = Field(None, description="Letters of each code, where all are as short.")

    @property
    def empty(self) -> bool:
        """Whether there is nothing to judge words by."""
        return not (self.forms or self.shapes or self.spellings)

    @cached_property
    def _common(self) -> frozenset[str]:
        return frozenset(self.common)

    @cached_property
    def _shapes(self) -> frozenset[str]:
        return frozenset(self.shapes)

    @cached_property
    def _punctuated(self) -> bool:
        return not any("a" in shape for shape in self.shapes)

    def judge(self, words: Sequence[str]) -> dict[int, Word]:
        """Find the words that are written wrongly.

        Args:
            words: distinct words of the column.

        Returns:
            Place in `words` -> what is wrong with it.
        """
        found: dict[int, Word] = {}
        for place, word in enumerate(words if self.shapes else ()):
            if word not in self._common and shape_of(word, self._punctuated) not in self._shapes:
                found[place] = Word("shape", None)
        for place, word in enumerate(words if self.length else ()):
            near = self._codes_near(word) if len(word) != self.length else []
            if near:
                found[place] = Word("length", near[0] if len(near) == 1 else None)
        if self.spellings:
            found |= self._misspelt(words)
        for place, word in enumerate(words if self.forms else ()):
            parts = _NUMBER.fullmatch(word[:LONGEST])
            if parts and parts[2] in self.forms:
                found[place] = Word("unit", parts[1] + self.forms[parts[2]])
        return found

    def _codes_near(self, word: str) -> list[str]:
        """The codes that a word of another length is a letter away from, and that are there much more often."""
        least = RATIO * self.spellings.get(word, 1)
        codes = (code for code, count in self.spellings.items() if len(code) == self.length and count >= least)
        return [code for code in codes if OSA.distance(word[:LONGEST], code) == 1]

    @cached_property
    def _vocabulary(self) -> tuple[list[str], npt.NDArray[np.int64]]:
        frequent = {w: n for w, n in self.spellings.items() if n >= FREQUENT and not _CODE.search(w)}
        return list(frequent), np.array(list(frequent.values()), np.int64)

    def _misspelt(self, words: Sequence[str]) -> dict[int, Word]:
        known, counts = self._vocabulary
        skeletons = [skeleton(word) for word in words]
        places = [i for i, bare in enumerate(skeletons) if len(bare) >= LETTERS_PER_SLIP // 2 and has_letters(bare)]
        if not places or not known:
            return {}
        out = {}
        # An unfamiliar batch holds as many words as rows, and each is compared with all that are known.
        for start in range(0, len(places), _BLOCK):
            own = places[start : start + _BLOCK]
            for row, best in self._slips([skeletons[i] for i in own], known, counts):
                out[own[row]] = Word("spelling", with_digits(known[best], words[own[row]]))
        return out

    def _slips(self, bare: list[str], known: list[str], counts: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
        """Places of words that are slips, each with the place of the known word that was meant."""
        allowed = np.array([max(1, len(word) // LETTERS_PER_SLIP) for word in bare])
        own = np.array([self.spellings.get(word, 1) for word in bare])
        distance = cdist(bare, known, scorer=OSA.distance, score_cutoff=int(allowed.max()), dtype=np.int32)
        eligible = (distance <= allowed[:, None]) & (distance > 0) & (counts >= RATIO * own[:, None] ** 2)
        # Of equally near words the most frequent one: they lie in that order.
        best = np.where(eligible, distance, np.iinfo(np.int32).max).argmin(axis=1)
        return ((int(row), int(best[row])) for row in np.flatnonzero(eligible.any(axis=1)))


def learn_pattern(column: str, counts: Mapping[str, int]) -> Pattern:
    """Learn how a column's words are written.

    Args:
        column: its name.
        counts: word -> rows, of the training rows.
    """
    rows = sum(counts.values())
    common = [word for word, count in counts.items() if count > max(2, RARE_WORD * rows)]
    return Pattern(
        column=column,
        rows=rows,
        forms=_unit_forms(counts),
        shapes=_usual_shapes(counts, rows),
        spellings=_usual_spellings(counts, rows),
        common=sorted(common),
        length=_usual_length(counts, rows),
    )


def _unit_forms(counts: Mapping[str, int]) -> dict[str, str]:
    numbers: dict[str, list[tuple[float, int]]] = {}
    parsed = rows = 0
    for word, count in counts.items():
        rows += count
        parts = _NUMBER.fullmatch(word[:LONGEST])
        amount = _amount(parts[1]) if parts else None
        if parts and amount is not None:
            parsed += count
            numbers.setdefault(parts[2], []).append((amount, count))
            if len(numbers) > FORMS:
                return {}
    if parsed < TYPICAL * rows:
        return {}
    sizes = {form: sum(count for _, count in own) for form, own in numbers.items()}
    by_unit: dict[str, list[str]] = {}
    for form in sorted(sizes, key=lambda form: (-sizes[form], form)):
        if sizes[form] >= FREQUENT:
            by_unit.setdefault(_unit(form), []).append(form)
    return {
        form: usual
        for usual, *others in by_unit.values()
        for form in others
        if _apart(numbers[usual], numbers[form]) <= ALIKE + sizes[form] ** -0.5
    }


def _usual_length(counts: Mapping[str, int], rows: int) -> int | None:
    lengths, codes = Counter[int](), Counter[int]()
    for word, count in counts.items():
        lengths[len(word)] += count
        codes[len(word)] += word.isalpha() and count >= FREQUENT
    for length, count in lengths.most_common(1):
        if length <= SHORT and count >= SAME_LENGTH * rows and codes[length] >= CODES:
            return length
    return None


def _amount(text: str) -> float | None:
    """A number's value; None where it is a date, a version or an address: `12.05.2024`, `10.0.0.1`."""
    try:
        return float(text.replace(",", "")[:40])
    except ValueError:
        return None


def _unit(form: str) -> str:
    """What a unit form says: its letters, in lower case, by their common abbreviation."""
    letters = " ".join(re.sub(r"[^\w$€£¥]|_", " ", form.lower()).split())
    return _SYNONYMS.get(letters, letters)


def _apart(one: list[tuple[float, int]], other: list[tuple[float, int]]) -> float:
    """Kolmogorov-Smirnov distance of two weighted samples."""
    grid = np.unique([value for value, _ in (*one, *other)])
    return float(np.abs(_shares(one, grid) - _shares(other, grid)).max())


def _shares(sample: list[tuple[float, int]], grid: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    own = np.zeros(len(grid))
    for value, count in sample:
        own[np.searchsorted(grid, value)] += count
    return np.asarray(np.cumsum(own) / own.sum())


def _usual_shapes(counts: Mapping[str, int], rows: int) -> list[str]:
    plain = Counter[str]()
    for word, count in counts.items():
        plain[shape_of(word, False)] += count
    typical = [shape for shape, count in plain.items() if count >= TYPICAL_SHAPE * rows]
    punctuated = not any("a" in shape for shape in typical)
    shapes = Counter[str]()
    for word, count in counts.items():
        shapes[shape_of(word, punctuated)] += count
    covered = sum(count for count in shapes.values() if count >= TYPICAL_SHAPE * rows)
    usual = sorted(shape for shape, count in shapes.items() if count > RARE_SHAPE * rows)
    return usual if covered >= TYPICAL * rows and any("9" in shape for shape in usual) else []


def shape_of(word: str, punctuated: bool) -> str:
    """A word's shape: a run of digits is 9, one of letters a, words are one; other characters only if `punctuated`."""
    shape = _LETTERS.sub("a", _DIGITS.sub("9", word[:LONGEST]))
    if not punctuated:
        shape = _MARKS.sub("", shape)
    return _WORDS.sub("a", " ".join(shape.split()))


def _usual_spellings(counts: Mapping[str, int], rows: int) -> dict[str, int]:
    bare = Counter[str]()
    for word, count in counts.items():
        bare[skeleton(word)] += count
    closed = sum(count for count in bare.values() if count >= FREQUENT)
    if closed < CLOSED * rows or not any(has_letters(word) for word in bare):
        return {}
    kept = sorted((word for word, count in bare.items() if count > 1), key=lambda word: (-bare[word], word))
    return {word: bare[word] for word in kept[:WORDS]}


def skeleton(word: str) -> str:
    """A word with each run of digits as #."""
    return _DIGITS.sub("#", word[:LONGEST])


def has_letters(word: str) -> bool:
    """Whether a word holds any letter."""
    return any(letter.isalpha() for letter in word)


def with_digits(bare: str, word: str) -> str | None:
    """A skeleton with the digits of a word; None when the word has another number of them."""
    digits = _DIGITS.findall(word)
    pieces = bare.split("#")
    if len(pieces) != len(digits) + 1:
        return None
    return "".join(piece + digit for piece, digit in zip(pieces, [*digits, ""], strict=True))
