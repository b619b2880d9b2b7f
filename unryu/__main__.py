"""`python -m unryu`: the command of this very installation, whatever PATH says."""

from unryu.cli import main

main()
