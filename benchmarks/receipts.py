"""A receipt in a script such as Cyrillic, first in a process and warm: `python receipts.py ours|reportlab SCRIPT`, JSON
on stdout.

`ours` runs in place of the built function, `reportlab` where reportlab is installed. reportlab draws equal words and
figures at equal places with equal fonts, but neither breaks lines nor looks for glyphs that a font lacks.
"""

import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from io import BytesIO
from pathlib import Path

NAMES = {"Latin-1": "José Müller", "Cyrillic": "Анна Каренина", "Japanese": "山田太郎", "Arabic": "محمد علي"}
# reportlab reads no CFF fonts, such as the Japanese font, and does not shape Arabic.
FONTS = {"Latin-1": "Helvetica", "Cyrillic": "cyrillic.ttf"}
WARM_RUNS = 40
PAID = datetime(2026, 3, 1, 12, tzinfo=UTC)


def ours(script: str) -> Callable[[], bytes]:
    """Return our rendering of a receipt for a customer with a name in the script."""
    from generate_receipt.pdf import Receipt, Seller, render

    receipt = Receipt(
        number="R-2026-03-01-8F3K2Q",
        paid_at=PAID,
        seller=Seller("Example Ltd", "1 Example Street, 12345 Example City", "DE123456789"),
        customer_name=NAMES[script],
        customer_id="cus_1042",
        subscription_id="sub_77310",
        plan="Team plan, monthly",
        period_start=date(2026, 3, 1),
        period_end=date(2026, 4, 1),
        transaction_id="pi_3QxJ2kLkdIwHu7ix0a1B2c3D",
        payment_method="Visa ending in 4242",
        amount="29.99",
        currency="EUR",
    )
    return lambda: render(receipt).pdf


def reportlab(script: str) -> Callable[[], bytes]:
    """Return reportlab's drawing of a page with as many texts, boxes and lines."""
    from reportlab.lib.pagesizes import A4
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont
    from reportlab.pdfgen.canvas import Canvas

    def draw() -> bytes:
        file = BytesIO()
        page = Canvas(file, pagesize=A4, invariant=1)
        font = FONTS[script]
        if font.endswith(".ttf"):
            folder = Path(__file__).parents[1] / "layers/receipt/receipt_fonts"
            pdfmetrics.registerFont(TTFont("script", folder / font))
            font = "script"
        for n in range(33):
            page.setFont("Helvetica", 9 + n % 3)
            page.drawString(62, 780 - 20 * n, f"Payment method {n}: Visa ending in 4242")
        page.setFont(font, 11)
        page.drawString(300, 600, NAMES[script])
        for n in range(4):
            page.line(62, 700 - 100 * n, 533, 700 - 100 * n)
            page.roundRect(62, 650 - 100 * n, 471, 22, 4)
        page.save()
        return file.getvalue()

    return draw


def main(render: Callable[[], bytes]) -> None:
    began = time.process_time()
    pdf = render()
    first = time.process_time() - began
    warm = []
    for _ in range(WARM_RUNS):
        began = time.process_time()
        render()
        warm.append(time.process_time() - began)
    json.dump({"first_ms": 1000 * first, "warm_ms": 1000 * min(warm), "bytes": len(pdf)}, sys.stdout)


if __name__ == "__main__":
    main({"ours": ours, "reportlab": reportlab}[sys.argv[1]](sys.argv[2]))
