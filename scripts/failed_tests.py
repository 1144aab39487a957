"""Print the tests that failed in the pytest run with this cache directory, one a line."""

import json
import sys
from pathlib import Path

found = Path(sys.argv[1], "v", "cache", "lastfailed")
print(*(json.loads(found.read_text()) if found.exists() else ()), sep="\n")
