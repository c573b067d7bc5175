"""`python tests/torture`: all campaigns, or what is left of them, and their table."""

import argparse
import re
import sys
import tempfile
import time
import traceback
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(1, str(HERE.parent))


def attempt(campaign, number: int) -> dict[str, object]:
    """One try as a row."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="daezoo-torture-") as folder:
        try:
            outcome = campaign.attempt(Path(folder), number)
        except Exception:
            outcome = "LOST"
            print(f"{campaign.fault}, try {number}:\n{traceback.format_exc()}", file=sys.stderr, flush=True)
    return {"fault": campaign.fault, "try": number, "outcome": outcome, "seconds": f"{time.monotonic() - started:.1f}"}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="campaigns whose fault this regular expression finds")
    parser.add_argument("--tries", type=int, help="of each campaign, at the most")
    options = parser.parse_args()
    import faults
    import fuzz
    import kills
    import nodes
    import pairs
    from reliability import ROWS, render

    from daezoo.runs import commit
    from daezoo.studies.cells import add_row, rows_of

    for campaign in (campaign for module in (kills, faults, pairs, nodes, fuzz) for campaign in module.CAMPAIGNS):
        done = {int(row["try"]) for row in rows_of(ROWS) if row["fault"] == campaign.fault}
        for number in range(min(campaign.tries, options.tries or campaign.tries)):
            if number not in done and re.search(options.only, campaign.fault):
                row = attempt(campaign, number)
                add_row(ROWS, row | {"commit": commit()})
                print(*row.values(), sep="  ", flush=True)
                render()
