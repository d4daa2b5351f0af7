"""What one column's word says about another's."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from ae_plugin.core.dependencies import Dependency, ask, learn_dependencies

CITIES = {"10": "Rome", "20": "Oslo", "30": "Bern", "40": "Riga"}


def rows(times: int = 10) -> dict[str, pa.Array]:
    """Zip codes with their cities and, by chance, a colour."""
    rng = np.random.default_rng(0)
    zips = [zip_code for zip_code in CITIES for _ in range(times)]
    return {
        "zip": pa.array(zips),
        "city": pa.array([CITIES[z] for z in zips]),
        "colour": pa.array(rng.choice(["red", "blue", "green"], len(zips)).tolist()),
    }


def learned(columns: dict[str, pa.Array]) -> list[Dependency]:
    """All are texts."""
    return learn_dependencies(columns, set(columns))


def test_only_what_follows_is_learned() -> None:
    assert {(d.of, d.to) for d in learned(rows())} == {("zip", "city"), ("city", "zip")}


def test_one_side_must_hold_words() -> None:
    columns = rows()
    assert {(d.of, d.to) for d in learn_dependencies(columns, {"colour"})} == set()


def test_a_few_wrong_cells_do_not_hide_it() -> None:
    columns = rows()
    dirty = columns["city"].to_pylist()
    dirty[3], dirty[17] = "Oslo", "Osxo"
    columns["city"] = pa.array(dirty)
    found = next(d for d in learned(columns) if d.of == "zip")
    assert dict(zip(found.words, found.expected, strict=True)) == CITIES


def test_a_word_that_is_nearly_always_there_follows_from_nothing() -> None:
    columns = rows()
    columns["state"] = pa.array(["al"] * 38 + ["ak", "al"])
    assert not [d for d in learned(columns) if d.to == "state"]


def test_the_rarer_of_two_that_contradict_each_other_is_wrong() -> None:
    columns = {
        "school": pa.array(["Bachelors"] * 30 + ["Preschool"] * 5),
        "years": pa.array(["13"] * 30 + ["1"] * 5),
    }
    known = learned(columns)
    votes = ask(known, {"school": pa.array(["Preschool", "Preschool"]), "years": pa.array(["13", "1"])})
    assert votes.wrong["school"].tolist() == [True, False]
    assert not votes.wrong["years"].any()
    assert votes.expected["school"].to_pylist() == ["Bachelors", "Preschool"]


def test_more_must_be_against_a_cell_than_for_it() -> None:
    columns = rows() | {"mayor": pa.array([f"m. {c}" for c in rows()["city"].to_pylist()])}
    votes = ask(
        learned(columns),
        {"zip": pa.array(["10"]), "city": pa.array(["Oslo"]), "mayor": pa.array(["m. Rome"])},
    )
    assert {name for name, wrong in votes.wrong.items() if wrong[0]} == {"city"}
    assert votes.expected["city"].to_pylist() == ["Rome"]


def test_a_cell_that_contradicts_its_whole_row_has_no_say() -> None:
    columns = rows() | {"mayor": pa.array([f"m. {c}" for c in rows()["city"].to_pylist()])}
    one_way = [d for d in learned(columns) if d.of == "zip"]
    row = {"zip": pa.array(["10"]), "city": pa.array(["Oslo"]), "mayor": pa.array(["m. Oslo"])}
    votes = ask(one_way, row)
    assert not any(wrong.any() for wrong in votes.wrong.values())


def test_an_exception_that_history_holds_again_and_again_is_none() -> None:
    """Two airports may be equally far away; once or twice may be a slip."""
    columns = {
        "miles": pa.array([str(100 + i // 20) for i in range(200)]),
        "airport": pa.array([f"A{i // 20}" for i in range(200)]),
    }
    airports = columns["airport"].to_pylist()
    airports[0:3], airports[3:5] = ["A5"] * 3, ["A6"] * 2
    columns["airport"] = pa.array(airports)
    known = [d for d in learned(columns) if d.of == "miles"]
    votes = ask(known, {"miles": pa.array(["100"] * 4), "airport": pa.array(["A5", "A6", "A0", "A7"])})
    assert votes.wrong["airport"].tolist() == [False, True, False, True]
    assert votes.confirmed["airport"].tolist() == [False, False, True, False]


def test_gaps_and_words_never_seen_are_not_judged() -> None:
    votes = ask(learned(rows()), {"zip": pa.array(["10", "99"]), "city": pa.array([None, "Oslo"])})
    assert not votes.wrong["city"].any() and not votes.wrong["zip"][0]
    assert votes.expected["city"].to_pylist() == ["Rome", None]


def test_it_survives_json() -> None:
    for known in learned(rows()):
        assert Dependency.model_validate_json(known.model_dump_json()) == known
