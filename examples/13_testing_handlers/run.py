"""Run the tests beside this file, as `pytest` in this folder does; they need pytest and pytest-asyncio."""

import subprocess
import sys
from pathlib import Path

tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
sys.exit(subprocess.run(tests, cwd=Path(__file__).parent, timeout=60).returncode)
