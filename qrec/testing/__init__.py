"""What an executor, a store or a hook promises, as test suites: subclass one, name your class, and run pytest.

    from qrec.testing import StoreContract

    class TestMyStore(StoreContract):
        @pytest.fixture
        def kind(self):
            return MyStore

They need pytest and nothing else.  qrec runs them over what it brings itself.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qrec.testing.executors import ExecutorContract as ExecutorContract
    from qrec.testing.hooks import HookContract as HookContract
    from qrec.testing.stores import StoreContract as StoreContract

SUITES = {"ExecutorContract": "executors", "HookContract": "hooks", "StoreContract": "stores"}
__all__ = list(SUITES)


def __getattr__(name: str) -> object:
    """A suite, when somebody asks for it: the processes that suites start import a part of this package only."""
    if name not in SUITES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import sys
    from importlib import import_module

    import pytest

    module = f"{__name__}.{SUITES[name]}"
    if module not in sys.modules:  # else it is too late for what a failed assertion would tell
        pytest.register_assert_rewrite(module)
    return getattr(import_module(module), name)
