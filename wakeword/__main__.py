"""`python -m wakeword`: the command line."""

import sys

from wakeword.cli import main

sys.exit(main())
