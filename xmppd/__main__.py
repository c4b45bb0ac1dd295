"""python -m xmppd"""

from .cli import main

main()
