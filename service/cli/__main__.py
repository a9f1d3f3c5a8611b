"""`python -m service.cli`, where the console script is not on the path."""

from service.cli import main

main()
