"""A sheet of paper with this project's type, colours and margins: what every page of a PDF is drawn with (fpdf2)."""

from __future__ import annotations

import io
from datetime import UTC, datetime

from fpdf import FPDF
from fpdf.enums import Align, MethodReturnValue, XPos, YPos
from PIL import Image

from mri_models.document.tree import ColourKey, Figure

ALPHABET = "cp1252"  # of the core fonts: English and German, and a "?" for what a file's name may hold beyond it
MARGIN, FOOT = 18.0, 22.0  # mm
INK, SOFT, LINE, ACCENT = (22, 33, 42), (76, 91, 104), (205, 213, 219), (15, 111, 126)
Colour = tuple[int, int, int]
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)  # a PDF wants a date; ours must not depend on the day


class Sheet(FPDF):
    """Drawing in millimetres; text goes through `latin`, and nothing in it depends on the day."""

    def __init__(self, paper: str, title: str, language: str):
        super().__init__(format=paper)
        self.core_fonts_encoding = ALPHABET
        self.set_creation_date(_EPOCH)
        self.set_lang(language)
        self.set_title(title)
        self.set_margin(MARGIN)
        self.c_margin = 0  # text and pictures share one left edge
        self.set_auto_page_break(True, FOOT)

    def box(self, text: str, size: float, tone: tuple[Colour, Colour], width: float) -> None:
        """Text on a rounded field; tone is (field, ink). Above 12 points it is bold."""
        left, top, pad = self.get_x(), self.get_y(), 3.5
        self.style(size, "B" if size > 12 else "", tone[1])
        height = 2 * pad + self.height_of(text, width - 2 * pad, size * 0.5)
        self.set_fill_color(*tone[0])
        self.rect(left, top, width, height, style="F", round_corners=True, corner_radius=2)
        self.set_xy(left + pad, top + pad)
        self.write_text(text, width=width - 2 * pad, height=size * 0.5)
        self.set_xy(left, top + height)

    def style(self, size: float, style: str = "", colour: Colour = INK) -> None:
        self.set_font("helvetica", style, size)
        self.set_text_color(*colour)

    def hairline(self) -> None:
        self.set_draw_color(*LINE)
        self.set_line_width(0.2)
        self.line(self.l_margin, self.get_y(), self.w - MARGIN, self.get_y())

    def write_text(self, text: str, *, height: float, width: float = 0, align: Align = Align.L) -> None:
        """Lines from the cursor on; leaves it at the left margin below them."""
        self.multi_cell(width, height, latin(text), align=align, new_x=XPos.LMARGIN, new_y=YPos.NEXT, padding=0)

    def height_of(self, text: str, width: float, line: float) -> float:
        """mm that the text would take in the current style, with lines this high."""
        return self.multi_cell(width, line, latin(text), dry_run=True, output=MethodReturnValue.HEIGHT)

    def picture(self, figure: Figure, left: float, top: float, width: float, height: float) -> float:
        """Draw it as large as fits and give its width; the cursor goes below it."""
        picture = Image.fromarray(figure.pixels)
        scale = min(width / picture.width, height / picture.height)
        size = (picture.width * scale, picture.height * scale)
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=90, subsampling=0)
        self.image(stream, left, top, *size, alt_text=latin(figure.alt))
        self.set_xy(left, top + size[1])
        return size[0]

    def colour_key(self, key: ColourKey, left: float, width: float) -> None:
        """A bar of the colours and its two ends in words."""
        stops = Image.new("RGB", (len(key.stops), 1))
        stops.putdata(key.stops)
        bar = stops.resize((256, 8), Image.Resampling.BILINEAR)
        self.image(bar, left, self.get_y(), width, 2.4, alt_text=latin(f"{key.low}, {key.high}"))
        self.set_xy(left, self.get_y() + 2.8)
        self.style(8, colour=SOFT)
        top = self.get_y()
        self.cell(width / 2, 3.8, latin(key.low))
        self.set_xy(left + width * 0.3, top)
        self.write_text(key.high, width=width * 0.7, height=3.8, align=Align.R)


def latin(text: str) -> str:
    """Text in the alphabet that the core fonts have."""
    return text.encode(ALPHABET, "replace").decode(ALPHABET)
