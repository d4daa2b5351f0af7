"""Sentences of the report. Names and values are data: each is escaped where it enters a sentence."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone

from markupsafe import Markup

from ae_plugin.config import Pipeline
from ae_plugin.core.bands import Lane
from ae_plugin.core.regions import Region
from ae_plugin.jobs.report.rows import ExplainedRow
from ae_plugin.jobs.report.stored import Version, WorstCell
from ae_plugin.jobs.summary import many, unit
from ae_plugin.schemas import RunRecord

LONG = 60
_NO_FRACTION = re.compile(r"(?<=\d\d:\d\d:\d\d)\.0+(?=\D|$)")


def percent(share: float) -> str:
    """A share with three digits."""
    return f"{100 * share:.3g}%"


def place(partition: str) -> str:
    """A partition's name."""
    return partition or "the whole source"


def moment(text: str) -> str:
    """An ISO time as a person reads it; what is none stays as it is."""
    try:
        return f"{datetime.fromisoformat(text).astimezone(timezone.utc):%Y-%m-%d %H:%M} UTC"
    except (ValueError, OverflowError):
        return text


def short(text: str, length: int = 120) -> str:
    """A text cut to a length."""
    return text if len(text) <= length else text[: length - 1] + "…"


def value(text: str | None, kind: str = "", length: int = LONG) -> Markup:
    """A cell's value: words as code, and numbers with their thousands apart."""
    if text is None:
        return Markup("<i>null</i>")
    if text == "":
        return Markup("<i>empty</i>")
    if kind in ("number", "time"):
        return Markup("<b>{}</b>").format(short(figure(text), length))
    return Markup("<code>{}</code>").format(short(text, length))


def figure(text: str) -> str:
    """A whole number of five digits or more with its thousands apart, a moment without fractions that are 0."""
    text = _NO_FRACTION.sub("", text)
    digits = text.lstrip("-")
    plain = digits.isascii() and digits.isdecimal() and not digits.startswith("0")
    return f"{int(text):,}" if plain and 5 <= len(digits) <= 20 else text


def verdict(runs: Sequence[RunRecord], loud: set[str], named: Counter[str], decided: Mapping[str, str]) -> Markup:
    """The newest partition in a sentence or two, and which of those before it had more alarms than chance explains.

    Args:
        runs: oldest first, at least one.
        loud: ids of the runs with more alarms than chance explains.
        named: how often each column of the newest one was found wrong.
        decided: what people decided on refused partitions, in words.
    """
    *before, newest = runs
    text = _newest(newest, newest.run_id in loud, named, decided.get(newest.partition))
    odd = [run for run in before if run.run_id in loud and run.outcome == "scored"]
    if odd:
        had = "alarms" if newest.alert_rate_of == "alarms" else "more alarms than chance explains"
        text += Markup(" Of the {} before it {} had {}, last {}.").format(
            many(len(before), "partition"), len(odd), had, short(place(odd[-1].partition), LONG)
        )
    return text


def _newest(run: RunRecord, loud: bool, named: Counter[str], decided: str | None) -> Markup:
    name = Markup("<b>{}</b>").format(short(place(run.partition), LONG))
    if run.outcome != "scored":
        fate = (
            f"its {unit(run)}s are set aside in quarantine/" if run.outcome == "quarantined" else "nothing was written"
        )
        fate = f"was {short(decided, 200)}" if decided else fate
        why = "; ".join(run.guard.reasons[:2])
        text = Markup("{} is not the kind of data that the model knows: it was not scored, and {}.").format(name, fate)
        return text + Markup(" {}.").format(short(why, 300)) if why else text
    if not run.rows:
        return Markup("{} holds no {}s.").format(name, unit(run))
    text = Markup("{}: {} of {} anomalous, {}{}.").format(
        name,
        f"{run.anomalies:,}",
        many(run.rows, f"{unit(run)} is", f"{unit(run)}s are"),
        f"{run.anomalies / run.rows:.2%}",
        _beside_promise(run, loud),
    )
    if run.guard.verdict != "familiar":
        text += Markup(" The data is {}.").format(run.guard.verdict)
    if len(named) == 1:
        text += Markup(" {} found wrong, {}in <code>{}</code>.").format(
            many(sum(named.values()), "cell was", "cells were"),
            "all " if sum(named.values()) > 1 else "",
            short(next(iter(named)), LONG),
        )
    elif named:
        first = Markup(", ").join(
            Markup("<code>{}</code> ({})").format(short(name, LONG), f"{count:,}")
            for name, count in sorted(named.items(), key=lambda item: (-item[1], item[0]))[:3]
        )
        text += Markup(" {} found wrong, most in {}.").format(
            many(sum(named.values()), "cell was", "cells were"), first
        )
    return text


def _beside_promise(run: RunRecord, loud: bool) -> Markup:
    """A partition's alarms beside what its alert rate promises of rows, or of alarms."""
    rate = percent(run.alert_rate)
    if run.alert_rate_of == "alarms":
        return Markup("; at most {} of these are normal, on average").format(rate) if run.anomalies else Markup("")
    told = Markup('<b class="alarm">more than chance explains</b>') if loud else "so few may be chance"
    return Markup(" where {} was chosen: {}").format(rate, told)


def news(
    pipeline: Pipeline,
    runs: Sequence[RunRecord],
    champion: Version | None,
    needed: int,
    versions: int,
    decided: Mapping[str, str],
) -> list[str]:
    """What a person must mend before anything else can be trusted."""
    out = []
    if champion is None:
        mend = "look at the versions below, then run ae promote" if versions else "run ae train first"
        out.append(f"There is no champion yet, so nothing can be scored: {mend}.")
    elif champion.report is None:
        out.append(f"The champion {champion.name} cannot be read: {champion.problem}.")
    elif champion.report.rows_calibration < needed:
        have, rate = champion.report.rows_calibration, percent(pipeline.score.alert_rate)
        one = "picture" if pipeline.source.format == "images" else "row"
        what = f"an alarm at {rate} needs {needed:,} calibration {one}s, there are {have:,}"
        out.append(f"No {one} can be flagged: {what}.")
    if not runs:
        out.append("No partition was scored yet.")
    refused = [place(run.partition) for run in runs if run.outcome != "scored" and run.partition not in decided]
    if refused:
        few = ", ".join(refused[-3:]) + (" and others" if len(refused) > 3 else "")
        out.append(f"Unfamiliar, so not scored: {len(refused)} of {many(len(runs), 'partition')} ({few}).")
    return out


def reasons(explained: ExplainedRow) -> list[Markup]:
    """Why a row is anomalous: a sentence for each wrong cell, or one for the row as a whole."""
    wrong = sorted((lane for lane in explained.lanes if lane.wrong), key=lambda lane: -abs(lane.place))
    if wrong:
        return [_sentence(lane) for lane in wrong]
    if explained.row.cells:
        return [_stored(cell) for cell in explained.row.cells]
    whole = Markup("No single cell is wrong beyond doubt: the row is odd as a whole.")
    oddest = max(explained.lanes, key=lambda lane: abs(lane.place), default=None)
    if oddest is not None:
        return [whole, Markup("Farthest from what was expected: {}").format(_sentence(oddest))]
    if explained.row.top_column is not None:
        return [whole + Markup(" Its oddest column is {}.").format(_code(explained.row.top_column))]
    return [whole]


def why(spots: Sequence[Region] | None, far: float | None) -> list[str]:
    """Why a picture is anomalous.

    Args:
        spots: where it is wrong, the hottest first; None when that is not known.
        far: how far it is from history, 1 = as far as 95% of the calibration pictures stay within; None: not known.
    """
    told = []
    if spots:
        spot, more = spots[0], many(len(spots) - 1, "more place looks", "more places look")
        at = f"x {spot.left + spot.width // 2:,}, y {spot.top + spot.height // 2:,}"
        told.append(f"A hot spot of {spot.width:,} by {spot.height:,} pixels around {at} looks wrong.")
        told += [f"{more} wrong."] if len(spots) > 1 else []
    elif spots is not None:
        told.append("No pixel is wrong beyond doubt: it is far from history as a whole.")
    if far is not None and far > 1:
        told.append(f"Its middle is {far:.2g} times as far from history as 95 of 100 calibration pictures are at most.")
    return told


def _sentence(lane: Lane) -> Markup:
    """One cell in a sentence: what it holds, what was expected, and how rare that is."""
    text = Markup("{} is {}").format(_code(lane.column), value(lane.observed, lane.kind))
    if lane.seen is not None:
        text += Markup(", which {}").format(
            f"{percent(lane.seen)} of training rows hold" if lane.seen else "training never saw"
        )
    if lane.expected is None:
        text += Markup(", which does not fit the rest of the row")
    elif lane.expected == lane.observed:
        text += Markup(", as expected, but other values are as likely")
    else:
        text += Markup("; from the rest of the row {} was expected").format(value(lane.expected, lane.kind))
        text += Markup(" ({})").format(_range(lane)) if lane.low is not None or lane.share is not None else Markup("")
    if not lane.rows:
        return text + Markup(".")
    often = (1 + lane.beyond) / (lane.rows + 1)
    if lane.beyond:
        return text + Markup("; about 1 in {} normal rows lies as far off.").format(f"{max(round(1 / often), 1):,}")
    # None of a thousand may still be one in four hundred: what was counted is said, and no more.
    return text + Markup("; of {} none lies as far off.").format(many(lane.rows, "normal row"))


def _range(lane: Lane) -> str:
    """The band in words: two ends, or the chance of the expected value."""
    if lane.share is not None:
        return f"{percent(lane.share)} likely"
    low, high = figure(lane.low or "?"), figure(lane.high or "?")
    normal = "99 of 100 normal rows" if lane.level >= 0.99 else f"{percent(lane.level)} of normal rows"
    return f"{normal} {'have just that' if low == high else f'lie between {low} and {high}'}"


def _stored(cell: WorstCell) -> Markup:
    """One cell in a sentence, from what `cells/` holds alone."""
    text = Markup("{} is {}").format(_code(cell.column), value(cell.observed))
    if cell.expected is None:
        text += Markup(", which does not fit the rest of the row")
    else:
        text += Markup("; from the rest of the row {} was expected").format(value(cell.expected))
    return text + Markup(" (p-value {}).").format(f"{cell.p_value:.2g}")


def beside(lane: Lane) -> Markup:
    """What was expected of a lane's cell, in few words."""
    if lane.expected is None:
        return Markup("")
    numeric = lane.kind in ("number", "time")
    text = Markup("{}").format(short(figure(lane.expected), LONG)) if numeric else value(lane.expected)
    if lane.share is not None:
        return text + Markup(" {}").format(percent(lane.share))
    if lane.low is None or lane.high is None or lane.low == lane.high:
        return text
    return text + Markup(" ({} to {})").format(short(figure(lane.low), 24), short(figure(lane.high), 24))


def _code(name: str) -> Markup:
    return Markup("<code>{}</code>").format(short(name, LONG))
