"""An operator for the jobs of a module, installed as the chart's README says."""

import pytest

from support import operated


@pytest.fixture(scope="module")
def operator(namespace):
    """The chart, installed for the module's namespace."""
    with operated.operator(namespace) as installed:
        yield installed
