"""One script class's receipt, first in a process and warm: `python receipts.py ours|reportlab CLASS`, JSON on stdout.

It runs in the built function's place (ours), or where reportlab is installed. reportlab draws the same words and
figures at the same places, with the same fonts, and neither breaks lines nor looks for glyphs that a font lacks.
"""

import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from io import BytesIO
from pathlib import Path

NAMES = {"Latin-1": "José Müller", "Cyrillic": "Анна Каренина", "Japanese": "山田太郎", "Arabic": "محمد علي"}
# reportlab reads no CFF fonts, which the Japanese one is, and shapes no Arabic.
FONTS = {"Latin-1": "Helvetica", "Cyrillic": "cyrillic.ttf"}
WARM_RUNS = 40
PAID = datetime(2026, 3, 1, 12, tzinfo=UTC)


def ours(script: str) -> Callable[[], bytes]:
    """Our receipt of a customer with a name in that script."""
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
    """As many texts, boxes and rules on one page, drawn by reportlab."""
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
