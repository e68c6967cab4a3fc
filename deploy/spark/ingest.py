"""What spark-submit runs: `vitrina ingest` on the Spark that spark-submit has started.

Takes the options of `vitrina ingest`, --config first of all.
"""

from __future__ import annotations

import sys

from vitrina.cli import main

if __name__ == "__main__":
    sys.argv = ["vitrina", "ingest", "--engine", "spark", "--no-histories", *sys.argv[1:]]
    main()
