"""Tables and numbers, as text and as HTML."""

import html


def table(header: list[str], rows: list[list[str]]) -> str:
    """Columns set flush left, two blanks apart."""
    widths = [max(len(cell) for cell in column) for column in zip(header, *rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in [header, *rows]]
    return "\n".join(line.rstrip() for line in lines)


def html_table(header: list[str], rows: list[list[str]]) -> str:
    """The same for a notebook; every cell is escaped."""
    head = "".join(f"<th scope='col' style='text-align:left'>{html.escape(cell)}</th>" for cell in header)
    body = [
        "<tr>" + "".join(f"<td style='text-align:left'>{html.escape(cell)}</td>" for cell in row) + "</tr>"
        for row in rows
    ]
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"


def count(number: float, unit: str = "") -> str:
    """`1.22 G`, `350 k`, `12`: three digits and a power of 1000."""
    for factor, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= 0.9995 * factor:  # else 999,700 would be rounded to 1e+03 k
            return f"{number / factor:.3g} {letter}{unit}"
    return f"{number:.3g} {unit}".strip()


def together(shares: list[str], norm: float) -> str:
    """`0.25 (line 41) and 0.1 (line 46), together 0.31`: vectors, so that `norm` is not the sum of their norms."""
    if not shares:
        return f"{norm:.2g}"
    return " and ".join(shares) + (f", together {norm:.2g}" if len(shares) > 1 else "")
