"""`python -m pellucid.cli`, for where the script is not on the path."""

from pellucid.cli import main

main()
