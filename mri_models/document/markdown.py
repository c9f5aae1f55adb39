"""Document → Markdown. Pictures stay out: a Markdown file has no place of its own for them."""

from __future__ import annotations

from collections.abc import Iterator

from mri_models.document.tree import Block, Document, Figures, Measurements, Statements


def markdown(document: Document) -> str:
    """Title, disclaimer, every section; each sentence ends with the rule that made it."""
    lines = [
        f"# {document.title}: {_plain(document.file)}",
        "",
        f"> {document.disclaimer}",
        "",
        f"**{document.headline}**",
    ]
    for section in document.sections:
        written = [line for block in section.blocks for line in _lines(block)]
        if written:
            lines += ["", f"## {section.heading}", "", *written]
    return "\n".join([*lines, "", f"> {document.disclaimer}", ""])


def _lines(block: Block) -> Iterator[str]:
    if isinstance(block, Figures):
        return
    if isinstance(block, Statements):
        yield from (f"- {sentence.text} `{sentence.rule}`" for sentence in block.sentences)
    elif isinstance(block, Measurements):
        yield from (f"- {item.label}: {item.text}" for item in block.items)
    else:
        yield f"| {' | '.join(block.columns)} |"
        yield "|---" * len(block.columns) + "|"
        for row in block.rows:
            yield f"| {' | '.join(f'`{cell}`' if i in block.codes else cell for i, cell in enumerate(row))} |"


def _plain(name: str) -> str:
    """A file's name can't start Markdown or HTML of its own."""
    return "".join(f"\\{sign}" if sign in "\\`*_[]<>#|" else sign for sign in name)
