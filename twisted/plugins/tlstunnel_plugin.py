"""
Makes C{twistd tlstunnel} and C{twistd --reactor=tlstunnel} known.

Twisted imports this module at every start of twistd on the machine: it imports nothing of ours.
"""

from twisted.application.reactors import Reactor
from twisted.application.service import ServiceMaker

tlstunnel = ServiceMaker(
    "tlstunnel",
    "tlstunnel.tap",
    "TLS around any connection, with STARTTLS.",
    "tlstunnel",
)

tunnelReactor = Reactor("tlstunnel", "tlstunnel.net.reactor", "Linux's epoll, made for tunnels.")
