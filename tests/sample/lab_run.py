"""An acceptance run's place, on no lab: a kept record, and the lines that its run has printed.

Arguments: the folder of runs, the kept record, the exit status, and a file that shows what there
was on the lab, and what was asked for, while it ran.
"""

import json
import os
import shutil
import sys
from pathlib import Path

runs, kept, status, noted = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
folder = runs / "run"
folder.mkdir()
shutil.copy(kept / "record.jsonl", folder)
print("lab vlab (a virtual lab), run run: 2 tests, 1 stages", flush=True)
for line in (kept / "record.jsonl").read_text("utf-8").splitlines():
    event = json.loads(line)
    if event["kind"] == "progress":
        print(event["text"], flush=True)
asked = sorted(f"{k}={v}" for k, v in os.environ.items() if k.startswith("ACCEPT_"))
there = Path(os.environ["HOME"], "set").exists()
Path(noted).write_text("\n".join([f"set: {there}", *asked]), encoding="utf-8")
sys.exit(status)
