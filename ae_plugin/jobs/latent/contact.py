"""Contact sheets of a traversal: of each latent variable a strip of pictures, or the courses of columns."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from ae_plugin.core.traversal import Move, named
from ae_plugin.latent_schemas import LatentNote

CELL, GAP, TITLE = 64, 4, 20
INK, PAPER, FAINT = (34, 34, 34), (255, 255, 255), (130, 130, 130)
WIDE, TALL, RIGHT = 260, 96, 330
COLOURS = ((0, 90, 181), (213, 94, 0), (0, 140, 100), (150, 60, 150))
"""Told apart also by who sees few colours (after Okabe and Ito, 2008)."""


def draw_strips(strips: Sequence[tuple[LatentNote, Sequence[bytes]]]) -> bytes:
    """Pictures (PNGs) in strips, titled; a PNG."""
    most = max(len(pngs) for _, pngs in strips)
    width, height = GAP + most * (CELL + GAP), GAP + len(strips) * (TITLE + CELL + GAP)
    sheet = Image.new("RGB", (max(width, 320), height), PAPER)
    draw, top = ImageDraw.Draw(sheet), GAP
    for note, pngs in strips:
        said = f"{note.latent}: {note.title}"
        draw.text((GAP, top), f"{said}  ({note.carries:.2f} nats)", fill=INK, font=_font())
        for place, png in enumerate(pngs):
            with Image.open(io.BytesIO(png)) as image:
                share = CELL / max(image.size)
                size = (max(round(image.width * share), 1), max(round(image.height * share), 1))
                shown = image.convert("RGB").resize(size, Image.Resampling.NEAREST)
            sheet.paste(shown, (GAP + place * (CELL + GAP), top + TITLE))
        top += TITLE + CELL + GAP
    return _png(sheet)


def draw_courses(panels: Sequence[tuple[LatentNote, Sequence[Move]]], carried_by: str) -> bytes:
    """Lines of the columns that move, in standard deviations from the first step; a PNG."""
    sheet = Image.new("RGB", (GAP * 3 + WIDE + RIGHT, GAP + len(panels) * (TITLE + TALL + 2 * GAP)), PAPER)
    draw, top = ImageDraw.Draw(sheet), GAP
    for note, moves in panels:
        unit = "nats" if carried_by == "kl" else "of the variance"
        amount = f"{note.carries:.2f}" if carried_by == "kl" else f"{note.carries:.1%}"
        said = textwrap.shorten(f"{note.latent}: {note.title}", 74, placeholder=" ...")
        draw.text((GAP, top), f"{said}  ({amount} {unit})", fill=INK, font=_font())
        _panel(draw, named(moves), top + TITLE)
        top += TITLE + TALL + 2 * GAP
    return _png(sheet)


def _panel(draw: ImageDraw.ImageDraw, moves: Sequence[Move], top: int) -> None:
    draw.rectangle((GAP, top, GAP + WIDE, top + TALL), outline=FAINT)
    ends = [(float(move.course.min()), float(move.course.max())) for move in moves] or [(0.0, 1.0)]
    low, high = min(end[0] for end in ends), max(end[1] for end in ends)
    span = max(high - low, 1e-6)
    for place, (move, colour) in enumerate(zip(moves, COLOURS, strict=False)):
        last = max(len(move.course) - 1, 1)
        points = [
            (GAP + WIDE * step / last, top + TALL - 6 - (TALL - 12) * (float(at) - low) / span)
            for step, at in enumerate(move.course)
        ]
        draw.line(points, fill=colour, width=2)
        text = textwrap.shorten(f"{move.what}: {move.first} to {move.last}", 52, placeholder=" ...")
        draw.text((WIDE + 3 * GAP, top + 4 + place * 22), text, fill=colour, font=_font())


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(12)


def _png(sheet: Image.Image) -> bytes:
    stream = io.BytesIO()
    sheet.quantize(64).save(stream, "PNG", optimize=True)
    return stream.getvalue()
