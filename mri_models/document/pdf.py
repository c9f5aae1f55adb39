"""Document → PDF, A4 or Letter: what stands where. The same document gives the same bytes."""

from __future__ import annotations

from collections.abc import Callable

from fpdf.enums import Align, TableBordersLayout
from fpdf.fonts import FontFace

from mri_models.document.sheet import ACCENT, FOOT, LINE, MARGIN, SOFT, Sheet, latin
from mri_models.document.tree import Block, Document, Figures, Measurements, Section, Statements, Table

PAPERS = ("A4", "Letter")
_GAP = 6.0  # mm between pictures
_RULE_WIDTH = 30.0  # mm at the right, for the rules' names
_PICTURE = (82.0, 92.0)  # mm, the most that the picture takes
_TONES = {  # (field, ink) of a box
    "passed": ((234, 244, 245), (12, 89, 102)),
    "unsure": ((252, 243, 224), (109, 71, 0)),
    "stopped": ((251, 236, 234), (140, 40, 31)),
}


def pdf(document: Document, paper: str = "A4") -> bytes:
    """The document on pages of one of PAPERS, with the disclaimer at the top and on every page's foot."""
    pages = _Pages(document, paper)
    pages.head()
    pages.overview()
    for section in document.sections:
        if section.name not in ("picture", "verdict"):
            pages.section(section)
    return bytes(pages.output())


class _Pages(Sheet):
    """Pages in the making; fpdf2 calls `footer` itself."""

    def __init__(self, document: Document, paper: str):
        super().__init__(paper, document.title, document.language)
        self.document = document
        self.add_page()

    def footer(self) -> None:
        """Disclaimer and page number."""
        self.set_y(-FOOT + 4)
        self.hairline()
        self.ln(1.5)
        self.style(7, colour=SOFT)
        top = self.get_y()
        self.write_text(self.document.disclaimer, width=self.epw - 26, height=3.2)
        number = f"{self.document.page_word} {self.page_no()} / "
        self.set_xy(self.w - MARGIN - self.get_string_width(f"{number}9"), top)
        self.cell(0, 3.2, f"{number}{{nb}}")

    def head(self) -> None:
        """Title, file, and the disclaimer in a box of its own."""
        self.style(19, "B")
        self.write_text(self.document.title, height=9)
        self.style(10, colour=SOFT)
        self.write_text(self.document.file, height=5)
        self.ln(3)
        self.box(self.document.disclaimer, 9.5, _TONES["unsure"], self.epw)
        self.ln(4)

    def overview(self) -> None:
        """The first picture with its key on the left; verdict, numbers and the further pictures on the right."""
        top, left = self.get_y(), self.l_margin
        section, bottom, others = self.document.section("picture"), self.get_y(), ()
        if section:
            (figures,) = section.blocks
            others = figures.items[1:]
            width = self.picture(figures.items[0], left, top, *_PICTURE)
            self._caption(figures, left, width)
            bottom = self.get_y()
            left += width + _GAP
        self.set_xy(left, top)
        self.set_left_margin(left)
        self.box(self.document.headline, 15, _TONES[self.document.tone], self.w - MARGIN - left)
        self.ln(2)
        for block in self.document.section("verdict").blocks:
            self._block(block)
        if others:
            self._figures(Figures(others))
        self.set_left_margin(MARGIN)
        self.set_y(max(bottom, self.get_y()) + 3)

    def section(self, section: Section) -> None:
        """Heading and blocks; sentences may run over the page, tables and figures stay whole."""
        if self.will_page_break(10 + sum(map(_least, section.blocks))):
            self.add_page()
        self.ln(2)
        self.style(12, "B", ACCENT)
        self.write_text(section.heading, height=6.5)
        self.ln(0.5)
        for block in section.blocks:
            self._block(block)
        self.ln(2)

    def _block(self, block: Block) -> None:
        draw: dict[type, Callable] = {
            Statements: self._statements,
            Measurements: self._measurements,
            Table: self._table,
            Figures: self._figures,
        }
        draw[type(block)](block)

    def _statements(self, block: Statements) -> None:
        for sentence in block.sentences:
            self.style(9.5)
            width = self.epw - _RULE_WIDTH
            height = self.height_of(sentence.text, width, 4.7)
            if self.will_page_break(height):
                self.add_page()
            top = self.get_y()
            self.write_text(sentence.text, width=width, height=4.7)
            bottom = self.get_y()
            self.style(7, colour=SOFT)
            self.set_xy(self.w - MARGIN - _RULE_WIDTH, top)
            self.cell(_RULE_WIDTH, 4.7, sentence.rule, align=Align.R)
            self.set_xy(self.l_margin, bottom + 0.8)

    def _measurements(self, block: Measurements) -> None:
        """Label above or beside its number, a hairline below each."""
        for item in block.items:
            self.style(9, colour=SOFT)
            width = self.epw * 0.5
            top = self.get_y() + 1
            self.set_y(top)
            self.write_text(item.label, width=width, height=4.4)
            bottom = self.get_y()
            self.style(9, "B")
            self.set_xy(self.l_margin + width, top)
            self.write_text(item.text, width=self.epw - width, height=4.4, align=Align.R)
            self.set_y(max(bottom, self.get_y()) + 1)
            self.hairline()

    def _table(self, block: Table) -> None:
        plain, code = FontFace(), FontFace(family="courier", size_pt=7)
        self.set_draw_color(*LINE)
        self.set_fill_color(255, 255, 255)
        widths = [self._column(block, i) for i in range(len(block.columns))]
        self.style(8.5)
        with self.table(
            borders_layout=TableBordersLayout.HORIZONTAL_LINES,
            headings_style=FontFace(emphasis="", color=SOFT),
            col_widths=widths,
            line_height=4.6,
            padding=(0.6, 2, 0.6, 0),
            text_align=Align.L,
        ) as table:
            table.row(map(latin, block.columns))
            for cells in block.rows:
                row = table.row()
                for i, cell in enumerate(cells):
                    row.cell(latin(cell), style=code if i in block.codes else plain)
        self.ln(2)

    def _column(self, block: Table, index: int) -> float:
        """Its share of the width: as its longest cell needs."""
        self.style(8.5)
        cells = [row[index] for row in block.rows]
        return 4 + max(self.get_string_width(latin(cell)) for cell in (block.columns[index], *cells))

    def _figures(self, block: Figures) -> None:
        """Side by side, with the key below."""
        width = min((self.epw - _GAP * (len(block.items) - 1)) / len(block.items), 46.0)
        top = self.get_y() + 2
        for i, figure in enumerate(block.items):
            left = self.l_margin + i * (width + _GAP)
            self.picture(figure, left, top, width, width)
            self.style(8, colour=SOFT)
            self.set_xy(left, self.get_y() + 1)
            self.write_text(figure.caption, width=width, height=3.8)
        self.ln(1)
        if block.key:
            self.colour_key(block.key, self.l_margin, len(block.items) * (width + _GAP) - _GAP)

    def _caption(self, figures: Figures, left: float, width: float) -> None:
        self.ln(1.5)
        if figures.key:
            self.colour_key(figures.key, left, width)
        self.style(8, colour=SOFT)
        self.set_x(left)
        self.write_text(figures.items[0].caption, width=width, height=3.8)


def _least(block: Block) -> float:
    """mm that a block needs on its page."""
    if isinstance(block, Statements):
        return 12.0
    if isinstance(block, Figures):
        return 62.0
    return 6.5 * (len(block.items) if isinstance(block, Measurements) else len(block.rows) + 1)
