"""Documents that are drawn here, byte for byte the same everywhere: the probes of pages."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

A4 = (595, 842)
A5_ACROSS = (595, 420)


def make_pdf(pages: Iterable[str], size: tuple[float, float] = A4, *, catalog: str = "") -> bytes:
    """Write a PDF (ISO 32000-2) of pages, each given as its content stream; `catalog` adds to the catalog."""
    streams = [page.encode("ascii") for page in pages]
    kids = " ".join(f"{3 + 2 * place} 0 R" for place in range(len(streams)))
    objects = [
        f"<< /Type /Catalog /Pages 2 0 R {catalog} >>".encode(),
        f"<< /Type /Pages /Kids [{kids}] /Count {len(streams)} >>".encode(),
    ]
    for place, stream in enumerate(streams):
        fonts = "/Resources << /Font << /F << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >>"
        box = f"/MediaBox [0 0 {size[0]:g} {size[1]:g}]"
        objects.append(
            f"<< /Type /Page /Parent 2 0 R {box} {fonts} /Contents {4 + 2 * place} 0 R >>".encode()
        )
        objects.append(b"<< /Length %d >>\nstream\n%b\nendstream" % (len(stream), stream))
    return assemble(objects)


def assemble(objects: Sequence[bytes], trailer: str = "") -> bytes:
    """Write a PDF of numbered objects, from 1 on, the first of which is its catalog."""
    content, places = bytearray(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"), []
    for number, body in enumerate(objects, 1):
        places.append(len(content))
        content += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    start = len(content)
    content += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    content += b"".join(b"%010d 00000 n \n" % place for place in places)
    head = f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R {trailer} >>\nstartxref\n{start}\n%%EOF\n"
    return bytes(content) + head.encode()


def write_words(words: str, size: int = 24, height: float = 842) -> str:
    """Write lines of words from the top of a page on, as a content stream."""
    lines = words.split("\n")
    shown = " T* ".join(f"({_escape(line)}) Tj" for line in lines)
    return f"BT /F {size} Tf {1.4 * size:g} TL 50 {height - 50 - size:g} Td {shown} ET"


def _escape(line: str) -> str:
    return line.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")


def draw_figure(seed: int, size: tuple[float, float] = A4) -> str:
    """Draw rectangles, curves and lines in some colours, which a seed decides, as a content stream."""
    draw = random.Random(seed)
    width, height = size
    shapes = ["1 1 1 rg 0 0 {:g} {:g} re f".format(*size)]
    for _ in range(6):
        colour = " ".join(f"{draw.randrange(8) / 8:g}" for _ in range(3))
        x, y = draw.randrange(int(width)), draw.randrange(int(height))
        across, down = draw.randrange(40, int(width) // 2), draw.randrange(40, int(height) // 2)
        shapes.append(f"{colour} rg {x} {y} {across} {down} re f")
        shapes.append(
            f"{colour} RG {draw.randrange(1, 9)} w {y} {x} m {x} 0 {down} {across} {across} {y} c S"
        )
    return "\n".join(shapes)


def samples(count: int) -> list[bytes]:
    """Draw so many documents of one page, all different."""
    sizes = (A4, A5_ACROSS, (300, 900))
    return [
        make_pdf([draw_figure(seed, sizes[seed % len(sizes)])], sizes[seed % len(sizes)])
        for seed in range(count)
    ]


def probes() -> list[bytes]:
    """Draw the pages that saved spaces are verified by; without words, whose shapes depend on fonts."""
    return samples(5)
