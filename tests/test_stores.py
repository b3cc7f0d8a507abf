"""The contract of stores, run over those that come with qrec."""

from __future__ import annotations

import fcntl
import os
import sqlite3

import pytest

from qrec.stores.filesystem import FilesystemStore
from qrec.stores.sqlite import SqliteStore
from qrec.testing import StoreContract


def lock_folder(location: str) -> object:
    """What a writing filesystem store does."""
    descriptor = os.open(os.path.join(location, "lock"), os.O_RDWR)  # stays open until the process ends
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def lock_database(location: str) -> object:
    """What a writing SQLite store does."""
    db = sqlite3.connect(location, isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    return db


class TestFilesystemStore(StoreContract):
    takes_back = False

    @pytest.fixture
    def kind(self):
        return FilesystemStore

    @pytest.fixture
    def take_lock(self):
        return lock_folder


class TestSqliteStore(StoreContract):
    @pytest.fixture
    def kind(self):
        return SqliteStore

    @pytest.fixture
    def take_lock(self):
        return lock_database
