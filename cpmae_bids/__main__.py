"""``python -m cpmae_bids``: the same as the ``cpmae-bids`` command."""

import sys

from cpmae_bids.cli.run import main

if __name__ == '__main__':
    sys.exit(main())
