"""The contract of stores, run over those that come with qrec."""

from __future__ import annotations

import fcntl
import os
import sqlite3

import pytest

from qrec.stores.filesystem import FilesystemStore
from qrec.stores.sqlite import SqliteStore
from tests.contract.store import StoreContract


def lock_folder(location: str) -> object:
    """What a writing filesystem store does."""
    file = open(os.path.join(location, "lock"), "r+b")
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def lock_database(location: str) -> object:
    """What a writing SQLite store does."""
    db = sqlite3.connect(location, isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    return db


class TestFilesystemStore(StoreContract):
    take_lock = staticmethod(lock_folder)

    @pytest.fixture
    def kind(self):
        return FilesystemStore


class TestSqliteStore(StoreContract):
    take_lock = staticmethod(lock_database)

    @pytest.fixture
    def kind(self):
        return SqliteStore
