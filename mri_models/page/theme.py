"""The page's Gradio theme: system fonts, a quiet paper for daylight, a reading room for dark mode."""

from __future__ import annotations

from pathlib import Path

from gradio.themes import Base, Color

STYLE_SHEET = Path(__file__).with_name("page.css")
_SANS = ("ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
_MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")
_TEAL = Color(
    "#ecf7f8",
    "#d3ecef",
    "#a9d9df",
    "#77c3cd",
    "#48a9b6",
    "#258c9b",
    "#0f6f7e",
    "#0c5966",
    "#0b4851",
    "#0a3a42",
    "#06262c",
)
_SLATE = Color(
    "#f6f8f9",
    "#eceff2",
    "#dbe1e6",
    "#bcc7cf",
    "#8d9ca8",
    "#647482",
    "#4c5b68",
    "#37444f",
    "#202a32",
    "#141b21",
    "#0b1014",
)


class ReadingRoom(Base):
    """Flat surfaces and hairlines: the image is the brightest thing on the page."""

    def __init__(self) -> None:
        super().__init__(
            primary_hue=_TEAL, secondary_hue=_TEAL, neutral_hue=_SLATE, font=_SANS, font_mono=_MONO, radius_size="md"
        )
        super().set(
            body_background_fill="*neutral_50",
            body_background_fill_dark="*neutral_950",
            body_text_color="#16212a",
            body_text_color_dark="#e3eaef",
            body_text_color_subdued="*neutral_600",
            body_text_color_subdued_dark="#9fb0bc",
            background_fill_primary="#ffffff",
            background_fill_primary_dark="*neutral_900",
            background_fill_secondary="*neutral_100",
            background_fill_secondary_dark="*neutral_800",
            block_background_fill="*background_fill_primary",
            block_background_fill_dark="*background_fill_primary",
            block_border_color="*neutral_200",
            block_border_color_dark="#26323b",
            block_border_width="1px",
            block_label_background_fill="transparent",
            block_label_background_fill_dark="transparent",
            block_label_border_width="0px",
            block_label_text_color="*neutral_600",
            block_label_text_color_dark="#9fb0bc",
            block_shadow="none",
            border_color_primary="*neutral_200",
            border_color_primary_dark="#26323b",
            button_primary_background_fill="*primary_600",
            button_primary_background_fill_dark="*primary_600",
            color_accent="*primary_600",
            color_accent_soft="*primary_50",
            color_accent_soft_dark="*neutral_800",
            input_background_fill="#ffffff",
            input_background_fill_dark="*neutral_950",
            link_text_color="*primary_700",
            link_text_color_dark="*primary_300",
            slider_color="*primary_600",
            slider_color_dark="*primary_400",
        )
