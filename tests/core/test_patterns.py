"""How words are written: units, shapes, spellings."""

from __future__ import annotations

import tracemalloc

import pytest

from ae_plugin.core.patterns import WORDS, Pattern, Word, learn_pattern, shape_of, with_digits


def judged(counts: dict[str, int], *words: str) -> dict[str, Word]:
    """Learn from counts, then judge words."""
    found = learn_pattern("c", counts).judge(words)
    return {words[place]: what for place, what in found.items()}


def zips(rows: int = 20) -> dict[str, int]:
    """Fifty zip codes, each that often."""
    return {str(35000 + 13 * i): rows for i in range(50)}


def test_a_letter_among_digits_has_another_shape() -> None:
    found = judged({**zips(), "3500x": 1}, "3500x", "35013", "99999", "x1234", "123")
    assert found == {"3500x": Word("shape", None), "x1234": Word("shape", None)}


def test_a_shape_that_is_not_rare_is_none() -> None:
    assert not judged({**zips(), **{f"K1A {i}B{i}": 5 for i in range(20)}}, "K1A 3B3")


def test_punctuation_counts_where_there_are_no_letters() -> None:
    dates = {f"2020-{m:02}-{d:02}": 3 for m in range(1, 13) for d in range(1, 29)}
    assert judged(dates, "2021-05-05", "2021/05/05") == {"2021/05/05": Word("shape", None)}


def test_names_with_marks_and_many_words_are_of_one_shape() -> None:
    assert shape_of("O'Fallon", False) == shape_of("St. Louis", False) == shape_of("Rancho Santa Fe", False) == "a"
    assert (shape_of("3x patients", False), shape_of("37 patients", False)) == ("9a", "9 a")


def test_a_rare_word_near_a_frequent_one_is_misspelt() -> None:
    counts = {"heart failure": 300, "heart attack": 300, "pneumonia": 300, "heaxt failure": 1}
    found = judged(counts, "heaxt failure", "heart failure", "pneumoxia", "surgery", "heart attack")
    assert found == {
        "heaxt failure": Word("spelling", "heart failure"),
        "pneumoxia": Word("spelling", "pneumonia"),
    }


def test_two_letters_exchanged_are_one_slip() -> None:
    assert judged({"Male": 600, "Female": 400, "Mael": 3}, "Mael") == {"Mael": Word("spelling", "Male")}


def test_a_code_of_another_length_is_no_code() -> None:
    airports = {"EWR": 400, "JFK": 300, "LGA": 290, "EWRR": 2, "GA": 1}
    found = judged(airports, "EWRR", "GA", "LAG", "ORD", "EWR", "G", "LGGAAA")
    assert found == {
        "EWRR": Word("spelling", "EWR"),
        "GA": Word("length", "LGA"),
    }
    types = {"L": 600, "M": 300, "H": 90, "LL": 10}
    assert judged(types, "LL", "", "X", "LLL") == {"LL": Word("length", "L"), "": Word("length", None)}


@pytest.mark.parametrize(
    "counts",
    [
        {"EWR": 400, "JFK": 300, "LGA": 200, "EW": 60},  # not rare: a code of its own
        {"yes": 500, "two": 490, "no": 4},  # two words are no list of codes
        {"Male": 300, "Pool": 300, "Mall": 300, "Ma": 2},  # words, not codes
    ],
)
def test_words_may_have_other_lengths(counts: dict[str, int]) -> None:
    assert "length" not in {word.why for word in judged(counts, *counts).values()}


def test_a_frequent_neighbour_is_another_word() -> None:
    styles = {"American IPA": 424, "American IPL": 18, "Witbier": 100}
    assert not judged(styles, "American IPL")


def test_a_slip_made_often_needs_a_word_that_is_there_more_often() -> None:
    assert judged({"acute care": 960, "acuxe care": 8, "other": 30}, "acuxe care")
    assert not judged({"acute care": 600, "acuxe care": 8, "other": 30}, "acuxe care")


def test_digits_are_never_misspelt() -> None:
    codes = {f"scip-inf-{i}": 100 for i in range(5)}
    assert judged(codes, "scip-inf-9", "scip-ixf-9") == {"scip-ixf-9": Word("spelling", "scip-inf-9")}


def test_codes_are_never_misspelt() -> None:
    tails = {f"N{i}NB": 3 for i in range(100, 300)}
    assert not judged(tails, "N777NC", "N7NX")


def test_free_text_is_not_spelt_by_a_vocabulary() -> None:
    names = {f"{a}{b} brewery": 1 for a in "abcdefghij" for b in "klmnopqrst"}
    assert learn_pattern("c", {**names, "big brewery": 20}).spellings == {}


def test_a_unit_is_written_as_most_are() -> None:
    sizes = {f"{n}.0 {unit}": rows for n in (8, 12, 16) for unit, rows in (("oz.", 50), ("OZ.", 20), ("ounce", 20))}
    found = judged(sizes, "12.0 OZ.", "16.0 ounce", "12.0 oz.", "99 OZ.")
    assert {word: what.repair for word, what in found.items()} == {
        "12.0 OZ.": "12.0 oz.",
        "16.0 ounce": "16.0 oz.",
        "99 OZ.": "99 oz.",
    }


def test_a_sign_of_share_beside_numbers_of_the_same_size() -> None:
    shares = {f"0.0{n}": 50 for n in range(3, 9)} | {f"0.0{n}%": 20 for n in range(3, 9)}
    assert judged(shares, "0.05%") == {"0.05%": Word("unit", "0.05")}
    percents = {f"0.0{n}": 50 for n in range(3, 9)} | {f"{n}%": 20 for n in range(3, 9)}
    assert not judged(percents, "5%"), "5% is not 5"


@pytest.mark.parametrize("other", ["pm", "oz. can", "g", "€"])
def test_another_unit_is_another_thing(other: str) -> None:
    assert not judged({f"{n} {unit}": 50 for n in range(1, 12) for unit in ("am", other)}, f"3 {other}")


def test_what_is_kept_is_bounded() -> None:
    many = {f"{chr(97 + i % 26)}{chr(97 + i // 26 % 26)}{chr(97 + i // 676)}": 9 for i in range(3 * WORDS)}
    pattern = learn_pattern("c", {**many, **{f"{i} {chr(97 + i)}": 100 for i in range(26)}})
    assert len(pattern.spellings) <= WORDS
    assert Pattern.model_validate_json(pattern.model_dump_json()) == pattern


def test_memory_does_not_grow_with_the_words_of_a_batch() -> None:
    """A batch of another source may hold another word in each row."""
    vocabulary = [f"{a}{b}rivers{c}" for a in "abcdefghij" for b in "klmnopqrst" for c in "abcdefghij"]
    pattern = learn_pattern("c", dict.fromkeys(vocabulary, 20))
    words = [f"{word}{letter}" for letter in "uvwxyz" for word in vocabulary]
    tracemalloc.start()
    found = pattern.judge(words)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == {place: Word("spelling", word[:-1]) for place, word in enumerate(words)}
    assert peak < 2**24, f"{peak / 2**20:.0f} MB"


def test_digits_go_back_where_they_were() -> None:
    assert with_digits("# of #", "12 ox 7") == "12 of 7"
    assert with_digits("# patients", "x patients") is None


@pytest.mark.parametrize("word", ["{:02d}.05.2024", "10.0.0.{}", "1.2.{} oz", "1.234.{},5 EUR"])
def test_dates_addresses_and_versions_are_no_amounts(word: str) -> None:
    words = {word.format(n): 10 for n in range(1, 29)}
    assert learn_pattern("c", words).forms == {}
    assert not judged(words, *words)
