"""
Layouts become files, and nobody else's are touched.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from twisted.python.monkey import MonkeyPatcher
from twisted.trial.unittest import SynchronousTestCase

from tests.provisioning.examples import entry, uuid
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.files import entries, makeDirectory
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pool import Pool
from tlstunnel.identity.requests import requestFor
from tlstunnel.identity.withdrawal import WithdrawnIdentity
from tlstunnel.provisioning import files as module
from tlstunnel.provisioning import keys
from tlstunnel.provisioning.files import Files, Outcome
from tlstunnel.provisioning.keys import KeyRing
from tlstunnel.provisioning.layout import Layout
from tlstunnel.provisioning.state import MANY, State

WWW = Identity.parse("www.example.test")
WWW_CHAIN = "www.example.test/fullchain.pem"


@contextmanager
def monkey(where: object, name: str, what: object) -> Iterator[None]:
    """
    Let something be something else for a moment.
    """
    patcher = MonkeyPatcher((where, name, what))
    patcher.patch()
    try:
        yield
    finally:
        patcher.restore()


class FilesTests(SynchronousTestCase):
    """
    A pool with files of several.
    """

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        makeDirectory(self.path / ".ldap" / "new")
        self.files = self.again()

    def again(self) -> Files:
        """
        What another process knows of them.
        """
        state = self.path / ".ldap"
        files = Files(Pool(self.path), state / "files", state / "new")
        files.open()
        return files

    def apply(self, isThorough: bool = True, **files: str) -> Outcome:
        """
        Let there be these files, each with C{__} for a slash and C{_} for a dot in its name.
        """
        named = {
            path.replace("__", "/").replace("_", "."): content.encode()
            for path, content in files.items()
        }
        return self.files.apply(Layout(named), isThorough)

    def read(self, path: str) -> str:
        """
        What is in a file.
        """
        return (self.path / path).read_text()

    def test_filesComeChangeAndGo(self) -> None:
        """
        Each as a whole, and also for another process.
        """
        self.assertEqual(self.apply(trust__a_pem="1", trust__b_pem="2").problems, [])
        self.files = self.again()
        outcome = self.apply(trust__a_pem="3")
        self.assertEqual((outcome.written, outcome.removed), (["trust/a.pem"], ["trust/b.pem"]))
        self.assertEqual(self.read("trust/a.pem"), "3")
        self.assertEqual(list((self.path / ".ldap" / "new").iterdir()), [])
        self.assertEqual(self.apply(trust__a_pem="3").written, [])

    def test_aFileOfSomebodyElseStays(self) -> None:
        """
        Also one that has taken the place of ours, whatever comes and goes.
        """
        makeDirectory(self.path / "trust")
        (self.path / "trust" / "a.pem").write_text("local")
        outcome = self.apply(trust__a_pem="1", trust__b_pem="2")
        self.assertEqual(outcome.written, ["trust/b.pem"])
        self.assertIn("trust/a.pem: is not from the directory", outcome.notes[0])
        (self.path / "trust" / "b.pem").write_text("local")
        self.apply(trust__a_pem="1", trust__b_pem="3")
        self.apply()
        self.assertEqual((self.read("trust/a.pem"), self.read("trust/b.pem")), ("local", "local"))

    def test_oneOfSomebodyElseWithTheSameContentIsNotOurs(self) -> None:
        """
        So that it stays where ours would go.
        """
        makeDirectory(self.path / "trust")
        (self.path / "trust" / "a.pem").write_text("same")
        self.apply(trust__a_pem="same")
        self.apply()
        self.assertEqual(self.read("trust/a.pem"), "same")

    def test_whoWasKilledBetweenListAndFileKnowsBoth(self) -> None:
        """
        The file as it was is ours, and as it was to be, too.
        """
        self.apply(trust__a_pem="1")
        self.patch(Files, "_write", lambda self, path, content: None)
        self.apply(trust__a_pem="2")
        self.files = self.again()
        self.assertEqual(self.read("trust/a.pem"), "1")
        self.assertEqual(self.apply().removed, ["trust/a.pem"])

    def test_whatIsRemovedIsWrittenAgain(self) -> None:
        """
        At the next thorough look.
        """
        self.apply(trust__a_pem="1")
        (self.path / "trust" / "a.pem").unlink()
        self.assertEqual(self.apply(isThorough=False, trust__a_pem="1").written, [])
        self.assertEqual(self.apply(trust__a_pem="1").written, ["trust/a.pem"])

    def test_oneThatCannotBeWrittenDoesNotKeepTheOthers(self) -> None:
        """
        And is tried again.
        """
        (self.path / "trust").write_text("no directory")
        outcome = self.apply(trust__a_pem="1", disclose__a_txt="2")
        self.assertEqual(outcome.written, ["disclose/a.txt"])
        self.assertEqual(len(outcome.problems), 1)
        (self.path / "trust").unlink()
        again = self.apply(isThorough=False, trust__a_pem="1", disclose__a_txt="2")
        self.assertEqual(again.written, ["trust/a.pem"])

    def test_whoDecidesInstead(self) -> None:
        """
        Where anchors go, the next selector that has some, and is less concrete, decides.
        """
        self.apply(trust__www_a_test_pem="1", trust___a_test_pem="2", trust__anchors_pem="3")
        (note,) = self.apply(trust___a_test_pem="2", trust__anchors_pem="3").notes
        self.assertIn("trust/.a.test.pem decides in its place", note)
        (note,) = self.apply(trust__anchors_pem="3").notes
        self.assertIn("trust/anchors.pem decides in its place", note)
        (note,) = self.apply().notes
        self.assertIn("the system's store decides", note)

    def test_aBrokenListIsAnError(self) -> None:
        """
        Nobody would know what is whose.
        """
        for content in "no JSON", "[]", '{"x": 1}':
            (self.path / ".ldap" / "files").write_text(content)
            self.assertRaises(ConfigurationError, self.again)

    def test_anIdentityLeadsToTheKeyThatHasACertificate(self) -> None:
        """
        Once that is there; a directory of somebody else stays one.
        """
        target = f".keys/{WWW}/2"
        makeDirectory(self.path / target)
        place = self.path / str(WWW)
        place.symlink_to(f".keys/{WWW}/1")
        files = {f"{target}/fullchain.pem": b"x"}
        self.files.apply(Layout(files, {WWW: target}), True)
        self.assertEqual(str(place.readlink()), target)
        place.unlink()
        place.mkdir()
        self.files.apply(Layout(files, {WWW: target}), True)
        self.assertFalse(place.is_symlink())

    def test_theListSaysWhatIsOurs(self) -> None:
        """
        And nothing that has gone.
        """
        self.apply(trust__a_pem="1")
        self.apply(trust__b_pem="1")
        self.assertEqual(list(json.loads(self.read(".ldap/files"))), ["trust/b.pem"])

    def test_whatCannotBeReadForAMomentIsStillOurs(self) -> None:
        """
        Neither does it go unnoticed where it should go, nor is it taken for that of somebody else.
        """
        self.apply(trust__a_pem="1", trust__b_pem="1", trust__c_pem="1")
        with monkey(module, "readFile", self.refuse):
            outcome = self.apply(trust__a_pem="2", trust__c_pem="1")
        self.assertEqual((outcome.written, outcome.removed, outcome.notes), ([], [], []))
        self.assertEqual(len(outcome.problems), 3)
        outcome = self.apply(isThorough=False, trust__a_pem="2", trust__c_pem="1")
        self.assertEqual((outcome.written, outcome.removed), (["trust/a.pem"], ["trust/b.pem"]))

    def refuse(self, path: Path, *args: object, **options: object) -> bytes:
        """
        No descriptor is left.
        """
        raise ConfigurationError(str(path), "cannot be read", "raise the limit")

    def test_aPoolThatIsMovedAwayHasLostNothing(self) -> None:
        """
        Once it is back, all is ours as before.
        """
        self.apply(trust__a_pem="1", trust__b_pem="1")
        away = self.path.rename(f"{self.path}.away")
        self.assertRaises(ConfigurationError, self.apply, False, trust__a_pem="1")
        away.rename(self.path)
        self.assertEqual(self.apply(trust__a_pem="1").removed, ["trust/b.pem"])

    def test_theDiskHasManyFilesAtOnceBeforeAnyIsInItsPlace(self) -> None:
        """
        As it would take its time for each, during which nothing else is done; and so of entries.
        """
        there: list[int] = []
        several = {f"trust__a{number}_pem": "1" for number in range(MANY + 1)}
        entries_ = {uuid(number): entry("trust", f"a{number}") for number in range(MANY + 1)}
        state = State(Pool(self.path), "ldap://x/dc=y")
        state.open()

        def sync() -> None:
            there.append(len(list(self.path.glob("trust/*"))))

        with monkey(os, "sync", sync), monkey(os, "fsync", lambda _: there.append(-1)):
            state.keep(entries_)
            self.assertEqual(there, [0])
            self.assertEqual(len(self.apply(True, **several).written), MANY + 1)
        # The list of what is ours is written before and after.
        self.assertEqual(there, [0, -1, 0, -1])
        self.assertEqual(list((self.path / ".ldap" / "new").iterdir()), [])
        self.assertEqual(len(list((self.path / ".ldap" / "entries").iterdir())), MANY + 1)

    def test_aKeyThatIsGoneGetsNoCertificate(self) -> None:
        """
        A directory without a key would be made for it.
        """
        target = f".keys/{WWW}/1"
        layout = Layout({f"{target}/fullchain.pem": b"x"}, {WWW: target})
        outcome = self.files.apply(layout, True)
        self.assertEqual((outcome.written, len(outcome.problems)), ([], 1))
        self.assertEqual([each.name for each in self.path.iterdir()], [".ldap"])
        makeDirectory(self.path / target)
        outcome = self.files.apply(layout, False)
        self.assertEqual(outcome.written, [f"{target}/fullchain.pem", str(WWW)])


class WithdrawalTests(SynchronousTestCase):
    """
    A certificate that the directory has no more is not one that is missing.
    """

    def setUp(self) -> None:
        self.pool = Pool(Path(self.mktemp()))
        state = self.pool.path / ".ldap"
        makeDirectory(state / "new")
        self.files = Files(self.pool, state / "files", state / "new")
        self.place = "www.example.test"
        requestFor(self.pool, WWW)
        self.chain = self.pool.path / self.place / "fullchain.pem"

    def apply(self, *vacant: str, isThorough: bool = False, **files: str) -> Outcome:
        """
        Let that be there, and nothing for the keys at C{vacant}.
        """
        named = {f"{self.place}/fullchain.pem": each.encode() for each in files.values()}
        return self.files.apply(Layout(named, vacant=set(vacant)), isThorough)

    def test_itIsSaidBeforeTheFileGoesAndUnsaidBehindTheNext(self) -> None:
        """
        So that at no moment it looks like a mishap; what is there counts.
        """
        self.apply(chain="1")
        self.assertEqual(list(self.pool.withdrawn()), [])
        outcome = self.apply(self.place)
        self.assertEqual((outcome.withdrawn, outcome.removed), ([self.place], [WWW_CHAIN]))
        self.assertEqual(list(self.pool.withdrawn()), [WWW])
        error = self.assertRaises(WithdrawnIdentity, self.pool.credentials, WWW)
        self.assertIn("www.example.test is withdrawn", str(error))
        self.assertFalse(self.apply(self.place).isNews)
        self.chain.write_text("by hand")
        self.assertEqual(list(self.pool.withdrawn()), [])
        self.chain.unlink()
        self.apply(chain="2")
        self.assertFalse(self.chain.with_name("withdrawn").exists())

    def test_aKeyThatWaitsIsNoMishap(self) -> None:
        """
        Nor is it one where the system did not let us say so the first time.
        """
        mark = self.chain.with_name("withdrawn")
        mark.mkdir()
        self.assertEqual(self.apply(self.place).withdrawn, [])
        mark.rmdir()
        self.assertEqual(self.apply(self.place, isThorough=True).withdrawn, [self.place])

    def test_nothingIsSaidOfWhatIsNotOurs(self) -> None:
        """
        Neither of the certificate of somebody else, nor of a key that is gone.
        """
        self.chain.write_text("theirs")
        self.assertEqual(self.apply(self.place).withdrawn, [])
        self.assertEqual(self.apply("gone.example.test").withdrawn, [])
        self.chain.unlink()
        self.assertEqual(list(self.pool.withdrawn()), [])

    def test_anotherRequestChangesNothing(self) -> None:
        """
        Until there is a certificate for it.
        """
        self.apply(self.place)
        requestFor(self.pool, WWW, again=True)
        self.assertEqual(list(self.pool.withdrawn()), [WWW])


class KeyTests(SynchronousTestCase):
    """
    Which keys are ours.
    """

    def test_whatCouldNotBeListedIsListedTheNextTime(self) -> None:
        """
        Although nothing has changed meanwhile.
        """
        pool = Pool(Path(self.mktemp()))
        makeDirectory(pool.path)
        ring = KeyRing(pool)
        self.assertEqual(ring.look(), {})
        requestFor(pool, WWW)

        def refuse(directory: Path) -> list[Path]:
            if directory.name == str(WWW):
                raise ConfigurationError(str(directory), "cannot be read", "raise the limit")
            return entries(directory)

        with monkey(keys, "entries", refuse):
            self.assertRaises(ConfigurationError, ring.look)
        self.assertEqual(list(ring.look()), [WWW])

    def test_aPoolThatIsGoneIsNotOneWithoutKeys(self) -> None:
        """
        Their certificates are not to be removed.
        """
        pool = Pool(Path(self.mktemp()))
        createIdentity(pool, WWW)
        ring = KeyRing(pool)
        found = ring.look()
        away = pool.path.rename(f"{pool.path}.away")
        self.assertRaises(ConfigurationError, ring.look)
        away.rename(pool.path)
        self.assertEqual(ring.look(), found)

    def test_aLinkThatWeMayNotFollowHasNoKeyAndHidesNoOther(self) -> None:
        """
        Be it one that leads to itself.
        """
        pool = Pool(Path(self.mktemp()))
        createIdentity(pool, WWW)
        place = pool.path / "other.example.test"
        place.symlink_to(place.name)
        self.assertEqual(list(KeyRing(pool).look()), [WWW])

        def refuse(path: Path) -> bool:
            if path.name == place.name:
                raise PermissionError(13, "Permission denied", str(path))
            return path.exists()

        with monkey(Path, "is_dir", refuse):
            self.assertEqual(list(KeyRing(pool).look()), [WWW])

    def test_aKeyThatCannotBeReadForAMomentIsWhatItWas(self) -> None:
        """
        So that its certificate is not removed meanwhile.
        """
        pool = Pool(Path(self.mktemp()))
        createIdentity(pool, WWW)
        ring = KeyRing(pool)
        before = ring.look()
        self.assertEqual(list(before), [WWW])
        file = pool.path / str(WWW) / "privkey.pem"
        content = file.read_text()
        file.write_text("half")
        self.assertEqual(ring.look(), before)
        file.write_text(content)
        self.assertEqual(ring.look(), before)
        file.unlink()
        self.assertEqual(ring.look(), {})

    def test_whoeverPullsNeedsNoPrivateKey(self) -> None:
        """
        The request says what it is for; of several keys all count, and all are in one place.
        """
        pool = Pool(Path(self.mktemp()))
        for number in 1, 2:
            request = requestFor(pool, WWW)
            (request.parent / "privkey.pem").unlink()
            (request.parent / "fullchain.pem").touch()
            found = KeyRing(pool).look()[WWW]
            places = [f".keys/{WWW}/{each}" for each in range(1, number + 1)]
            self.assertEqual([each.place for each in found], places)
            self.assertNotIn(None, [each.number for each in found])
        self.assertEqual(len({each.public for each in found}), 2)

    def test_whatIsNoIdentityHasNoKey(self) -> None:
        """
        Nor has one that is not in its one form.
        """
        pool = Pool(Path(self.mktemp()))
        createIdentity(pool, WWW)
        (pool.path / str(WWW)).rename(pool.path / "WWW.example.test")
        self.assertEqual(KeyRing(pool).look(), {})
