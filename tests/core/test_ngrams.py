"""Strings to vectors: of length one, the same everywhere, near when the letters are."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ae_plugin.core.ngrams import embed_strings
from tests.running import ROOT

QUICK = settings(max_examples=80, deadline=None, derandomize=True)
LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORD, OTHER = st.text(LETTERS[:13], min_size=6, max_size=20), st.text(LETTERS[13:], min_size=6, max_size=20)


@QUICK
@given(words=st.lists(st.text(min_size=1, max_size=40), max_size=12), dims=st.sampled_from([24, 256]))
def test_vectors_have_length_one(words: list[str], dims: int) -> None:
    found = embed_strings(words, dims)
    assert found.shape == (len(words), dims)
    assert found.dtype == np.float32
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_an_empty_string_has_no_direction() -> None:
    assert np.linalg.norm(embed_strings([""], 24)) == 0


@QUICK
@given(words=st.lists(st.text(max_size=20), min_size=1, max_size=10), seed=st.integers(0, 100))
def test_a_word_s_vector_is_its_own(words: list[str], seed: int) -> None:
    """It depends neither on the other words nor on their order."""
    order = np.random.default_rng(seed).permutation(len(words))
    whole = embed_strings(words, 24)
    assert np.array_equal(embed_strings([words[i] for i in order], 24), whole[order])
    assert np.array_equal(embed_strings(words[:1], 24), whole[:1])


@QUICK
@given(word=WORD, place=st.integers(0, 19), letter=st.sampled_from(LETTERS[:13]), other=OTHER)
def test_a_misspelling_is_nearer_than_a_word_of_other_letters(word: str, place: int, letter: str, other: str) -> None:
    place %= len(word)
    wrong = word[:place] + letter + word[place + 1 :]
    right, misspelt, strange = embed_strings([word, wrong, other], 256)
    assert right @ misspelt > right @ strange


@pytest.mark.parametrize("dims", [24, 256])
def test_misspellings_of_many_words_are_nearer_than_random_strings(dims: int) -> None:
    """Swapped, dropped and doubled letters, in the few dimensions that a column gets."""
    rng = np.random.default_rng(7)
    words = ["".join(rng.choice(list(LETTERS), 10)) for _ in range(400)]
    truth = embed_strings(words, dims)
    random = embed_strings(["".join(rng.choice(list(LETTERS), 10)) for _ in words], dims)
    for wrong in (
        [w[:4] + w[5] + w[4] + w[6:] for w in words],
        [w[:6] + w[7:] for w in words],
        [w[:3] + w[2] + w[3:] for w in words],
    ):
        near = (truth * embed_strings(wrong, dims)).sum(axis=1)
        far = (truth * random).sum(axis=1)
        assert (near > far).mean() > 0.97


def test_the_order_of_letters_counts() -> None:
    a, b = embed_strings(["listen", "silent"], 256)
    assert 0 < a @ b < 0.8


def test_where_a_word_begins_and_ends_counts() -> None:
    word, inside = embed_strings(["ab", "xabx"], 256)
    start, end = embed_strings(["abx", "xab"], 256)
    assert word @ start > word @ inside and word @ end > word @ inside


def test_only_the_first_256_letters_count() -> None:
    long = "a" * 200 + "b" * 56
    same, longer, shorter = embed_strings([long, long + "c" * 9, long[:-1] + "z"], 24)
    assert np.array_equal(same, longer)
    assert not np.array_equal(same, shorter)


@pytest.mark.parametrize("word", ["\ud800", "a\x00b", "\x02\x03", "💥", "e\u0301", " " * 10])
def test_odd_strings_have_a_vector(word: str) -> None:
    assert np.linalg.norm(embed_strings([word], 24)[0]) == pytest.approx(1, abs=1e-5)


def test_another_process_finds_the_same_vectors() -> None:
    """Python's own hash changes from process to process; this one must not."""
    words = ["apple", "Äpfel", "x-1"]
    code = f"from ae_plugin.core.ngrams import embed_strings; print(embed_strings({words!r}, 24).tobytes().hex())"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "3"}
    )
    assert ran.stdout.strip() == embed_strings(words, 24).tobytes().hex()
