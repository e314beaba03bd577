"""Tables of reports."""


def table(rows):
    """Rows of cells, the header first, as a Markdown table."""
    header, *others = rows
    lines = [header, ["---"] * len(header), *others]
    return "".join("| " + " | ".join(map(str, line)) + " |\n" for line in lines)
