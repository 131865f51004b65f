"""Runs Python examples: each page's in one namespace, in order. Exits with 1 where one fails, naming it."""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path

failed = False
for page, examples in json.loads(Path(sys.argv[1]).read_text("utf-8")):
    namespace: dict[str, object] = {"__name__": page}
    for number, code in enumerate(examples, 1):
        try:
            exec(compile(code, f"{page}, example {number}", "exec", dont_inherit=True), namespace)
        except Exception:
            failed = True
            traceback.print_exc()
sys.exit(failed)
