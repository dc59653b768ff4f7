"""
What is guessed where little is said.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.errors import ConfigurationError
from tlstunnel.probe.question import placeOf

#: What is said, and what it comes to.
GUESSES = {
    ("mail.example.org:587", None): ("mail.example.org:587", "smtp", {"starttls"}),
    ("mail.example.org:submission", None): ("mail.example.org:587", "smtp", {"starttls"}),
    ("mail.example.org:465", None): ("mail.example.org:465", "none", {"starttls"}),
    ("mail.example.org:993", None): ("mail.example.org:993", "none", {"starttls"}),
    ("mail.example.org:8443", None): ("mail.example.org:8443", "none", {"starttls"}),
    ("mail.example.org", None): ("mail.example.org:443", "none", {"starttls", "port"}),
    ("mail.example.org", "smtp"): ("mail.example.org:25", "smtp", {"port"}),
    ("mail.example.org", "submission"): ("mail.example.org:587", "smtp", {"port"}),
    ("db.example.org", "postgres"): ("db.example.org:5432", "postgresql", {"port"}),
    ("db.example.org:5432", None): ("db.example.org:5432", "postgresql", {"starttls"}),
    ("db.example.org:5432", "none"): ("db.example.org:5432", "none", set()),
    ("2001:db8::1", None): ("[2001:db8::1]:443", "none", {"starttls", "port"}),
    ("[2001:db8::1]", "imap"): ("[2001:db8::1]:143", "imap", {"port"}),
    ("[2001:db8::1]:25", None): ("[2001:db8::1]:25", "smtp", {"starttls"}),
    ("fe80::1%eth0", None): ("[fe80::1%eth0]:443", "none", {"starttls", "port"}),
    ("[fe80::1%eth0]", "imap"): ("[fe80::1%eth0]:143", "imap", {"port"}),
    ("[fe80::1%eth0]:25", None): ("[fe80::1%eth0]:25", "smtp", {"starttls"}),
    ("192.0.2.1", "none"): ("192.0.2.1:443", "none", {"port"}),
}

#: What is no place, and what is said about it.
MISTAKES = {
    ("https://www.example.org/", None): "is a URL; write www.example.org:443",
    ("/run/socket", None): "write HOST:PORT",
    ("", None): "write HOST:PORT",
    (":25", None): "write HOST:PORT",
    ("mail.example.org:0", None): "write HOST:PORT",
    ("mail.example.org:", None): "give a number",
    ("mail.example.org:nosuch", None): "give a number",
    ("mail.example.org:99999", None): "give a smaller one",
    ("mail.example.org", "smpt"): "did you mean smtp?",
    ("mail example org", None): "is not a domain",
}


class PlaceTests(SynchronousTestCase):
    """
    Where to look, and what is spoken there.
    """

    def test_portAndProtocolAreGuessedFromEachOther(self) -> None:
        for (text, starttls), (address, dialect, guesses) in GUESSES.items():
            place = placeOf(text, starttls)
            found = (str(place.address), place.dialect, set(place.guesses))
            self.assertEqual(found, (address, dialect, guesses), text)

    def test_whatIsNoPlaceIsToldWithARemedy(self) -> None:
        for (text, starttls), expected in MISTAKES.items():
            error = self.assertRaises(ConfigurationError, placeOf, text, starttls)
            self.assertIn(expected, str(error), text)
